"""Settings of the work on AWS, read by `settings_sources`: defaults, meanings and ranges."""

import dataclasses
import functools
import json
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dogbreeds.data import udacity
from dogbreeds.system.errors import DogbreedsError

DEFAULT_FILE = Path("dogbreeds.toml")
ENV_PREFIX = "DOGBREEDS_"
OTHER_VARIABLES = (
    "DOGBREEDS_CONFIG", "DOGBREEDS_PHOTOS", "DOGBREEDS_BACKEND", "DOGBREEDS_BATCH_SIZE",
    "DOGBREEDS_BATCH_DELAY_MS", "DOGBREEDS_QUEUE_SIZE", "DOGBREEDS_HOST", "DOGBREEDS_FAILURE_FILE",
    "DOGBREEDS_CORES_FILE", "DOGBREEDS_PLUGINS_DIR", "DOGBREEDS_WEIGHTS_DIR", "DOGBREEDS_PRECISION",
    "DOGBREEDS_IMAGE", "DOGBREEDS_USD_PER_HOUR", "DOGBREEDS_REVISION", "DOGBREEDS_PHOTO_CASES",
)  # fmt: skip
"""Variables that are not settings: the settings file, the tests' photos, and the images' own."""

_ARN = r"arn:aws[a-z-]*"
_ROLE = (_ARN + r":iam::\d{12}:role/.+", "a role's ARN, arn:aws:iam::ACCOUNT:role/NAME")
_INSTANCE_TYPE = (r"ml\.[a-z0-9-]+\.[a-z0-9]+", "an instance type such as ml.g5.xlarge")
_REGION = (r"[a-z]{2,}(-[a-z]+)+-\d", "a region such as eu-central-1")
_BUCKET = (r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "a bucket's name, without s3://")
_FOLDER = (r"[^/].*[^/]|[^/]", "a folder without / at its ends")
_URL = (r"(https?|s3)://.+", "an address https://... or s3://...")
_SHA256 = (r"[0-9a-fA-F]{64}", "64 hexadecimal digits")
_TOPIC = (_ARN + r":sns:[a-z0-9-]+:\d{12}:.+", "a topic's ARN, arn:aws:sns:...")
# A tuning job's name has at most 32 characters, 21 of which are ours (naming.py).
_PROJECT = (r"[a-z](-?[a-z0-9]){1,10}", "2 to 11 of a-z, 0-9 and -, beginning with a letter")
_CLOSED = "closed to accounts new since 2026-07-30"
_KINDS = ("real-time", "serverless", "async", "multi-model")
_UPDATES = ("all-at-once", "canary", "linear", "rolling")
_S3_URI = (r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?", "an address s3://BUCKET/PREFIX")


class ConfigError(DogbreedsError, ValueError):
    """A setting is unknown or invalid; the message says where, and what was expected."""


def refuse(*rules: tuple[object, str]) -> None:
    """Raise ConfigError with the message of the first rule whose condition holds."""
    for wrong, message in rules:
        if wrong:
            raise ConfigError(message)


def _setting(
    default: Any,  # noqa: ANN401  (as dataclasses.field)
    text: str,
    low: float | None = None,
    high: float | None = None,
    *,
    choices: Sequence[str] = (),
    pattern: tuple[str, str] | None = None,
) -> Any:  # noqa: ANN401
    """Describe a setting: a number's range, or a string's choices or pattern with its meaning.

    The default ``{}`` makes a table of names and values.
    """
    metadata = {"help": text, "low": low, "high": high, "choices": choices, "pattern": pattern}
    if default == {}:
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Aws:
    """The account."""

    region: str = _setting("", "region; default: the profile's", pattern=_REGION)
    profile: str = _setting("", "profile of ~/.aws/config; default: the usual credentials")
    role: str = _setting("", "role that jobs run as (iam/job-role.json)", pattern=_ROLE)
    endpoint_role: str = _setting("", "role of endpoints and batches; default: role", pattern=_ROLE)
    bucket: str = _setting("", "bucket for everything that jobs write", pattern=_BUCKET)
    prefix: str = _setting("dogbreeds", "folder in the bucket", pattern=_FOLDER)
    kms_key: str = _setting("", "KMS key for volumes and outputs; default: S3's own encryption")


@dataclass(frozen=True)
class Images:
    """The repositories of the two images."""

    training: str = _setting("dogbreeds-training", "ECR repository of the training image")
    serving: str = _setting("dogbreeds-serving", "ECR repository of the serving image")
    flavor: str = _setting("gpu", "which images to use", choices=("gpu", "cpu"))
    keep: int = _setting(50, "images that a repository keeps; endpoints need theirs", 1, 1000)
    training_uri: str = _setting("", "training image instead of the one pushed last")
    serving_uri: str = _setting("", "serving image instead of the one pushed last")


@dataclass(frozen=True)
class Data:
    """Where `dogbreeds data fetch` finds photos."""

    url: str = _setting(udacity.URL, "a zip or tar archive, or a folder on S3", pattern=_URL)
    sha256: str = _setting("", "of the archive; default: not checked", pattern=_SHA256)


@dataclass(frozen=True)
class Training:
    """A training job."""

    data: str = _setting("", "photos: s3://BUCKET/PREFIX with train/ valid/ test/", pattern=_S3_URI)
    weights: str = _setting("", "channel `weights`: s3://BUCKET/PREFIX", pattern=_S3_URI)
    instance_type: str = _setting("ml.g5.xlarge", "instance type", pattern=_INSTANCE_TYPE)
    instance_count: int = _setting(1, "instances; with several, torchrun", 1, 100)
    volume_gb: int = _setting(50, "disk of each instance, GB", 1, 16384)
    max_run: int = _setting(14400, "time limit in seconds", 60, 2419200)
    input_mode: str = _setting("File", "how channels reach the job", choices=("File", "FastFile"))
    spot: bool = _setting(False, "Spot capacity with checkpoints: cheaper, may wait")
    max_wait: int = _setting(28800, "Spot: time limit in seconds, with the wait", 60, 2419200)
    retries: int = _setting(0, "restarts after an internal error of SageMaker", 0, 30)
    warm_pool: int = _setting(0, "seconds to keep the instances for the next job", 0, 21600)
    debugger: bool = _setting(False, f"Debugger's tensors and rules; {_CLOSED}")
    profiler: bool = _setting(False, f"Debugger's system metrics; {_CLOSED}")
    hyperparameters: dict[str, str] = _setting({}, "by name, as `train` takes them")
    environment: dict[str, str] = _setting({}, "environment variables of the container")


@dataclass(frozen=True)
class Tuning:
    """A search for hyperparameters."""

    objective: str = _setting("valid_accuracy", "metric to maximize or minimize")
    strategy: str = _setting("Bayesian", "strategy", choices=("Bayesian", "Random", "Hyperband"))
    max_jobs: int = _setting(12, "training jobs in all", 1, 750)
    parallel_jobs: int = _setting(3, "training jobs at a time", 1, 100)
    early_stopping: bool = _setting(True, "stop jobs that fall behind the others")


@dataclass(frozen=True)
class Endpoint:
    """A live model."""

    name: str = _setting("", "the endpoint's name; default: the project's")
    kind: str = _setting("real-time", "kind of endpoint", choices=_KINDS)
    instance_type: str = _setting("ml.g5.xlarge", "instance type", pattern=_INSTANCE_TYPE)
    instance_count: int = _setting(1, "instances at the start", 1, 100)
    max_instances: int = _setting(0, "scale up to this many instances; 0: no scaling", 0, 100)
    scale_to_zero: bool = _setting(False, "async: no instance while no request waits")
    requests_per_instance: int = _setting(600, "scaling: per minute (async: waiting)", 1, 100000)
    memory_mb: int = _setting(4096, "serverless: memory, 1024 to 6144 in steps of 1024", 1024, 6144)
    concurrency: int = _setting(4, "serverless, async (per instance): requests at a time", 1, 1000)
    capture_percent: int = _setting(0, "percentage of requests and answers to store", 0, 100)
    update: str = _setting("all-at-once", "how a new version takes over", choices=_UPDATES)
    step_percent: int = _setting(10, "canary, linear, rolling: % of instances per step", 1, 50)
    bake_seconds: int = _setting(300, "wait between steps and before the old version goes", 0, 3600)
    alarms: tuple[str, ...] = _setting((), "roll an update back; default: the endpoint's alarms")
    monitoring: bool = _setting(True, "create alarms and a dashboard with the endpoint")
    alarm_topic: str = _setting("", "SNS topic that receives the endpoint's alarms", pattern=_TOPIC)
    max_latency_ms: int = _setting(2000, "alarm: 95th percentile of latency, ms", 1, 60000)
    ami_version: str = _setting("", "InferenceAmiVersion; default: by the image's CUDA")
    startup_seconds: int = _setting(600, "time to become ready", 60, 3600)
    environment: dict[str, str] = _setting({}, "environment variables of the container")


@dataclass(frozen=True)
class Transform:
    """A batch transform job."""

    instance_type: str = _setting("ml.g5.xlarge", "instance type", pattern=_INSTANCE_TYPE)
    instance_count: int = _setting(1, "instances", 1, 100)
    max_payload_mb: int = _setting(6, "largest photo, MB", 1, 100)
    concurrency: int = _setting(8, "photos at a time per instance", 1, 100)


@dataclass(frozen=True)
class Network:
    """Where jobs and endpoints run."""

    subnets: tuple[str, ...] = _setting((), "of a VPC; default: SageMaker's own network")
    security_groups: tuple[str, ...] = _setting((), "of the same VPC")
    isolation: bool = _setting(False, "no network for containers (SageMaker still moves data)")
    encrypt_traffic: bool = _setting(False, "encrypt traffic between instances of a job")


@dataclass(frozen=True)
class CloudSettings:
    """All settings, by section.

    `origins` has the source of a value, by ``section.key``; a default has no entry.
    """

    project: str = _setting("dogbreeds", "prefix of the names of all resources", pattern=_PROJECT)
    aws: Aws = field(default_factory=Aws)
    images: Images = field(default_factory=Images)
    data: Data = field(default_factory=Data)
    training: Training = field(default_factory=Training)
    tuning: Tuning = field(default_factory=Tuning)
    endpoint: Endpoint = field(default_factory=Endpoint)
    transform: Transform = field(default_factory=Transform)
    network: Network = field(default_factory=Network)
    tags: dict[str, str] = _setting({}, "tags of all resources")
    prices: dict[str, float] = _setting({}, "USD per hour by instance type", 0)
    origins: dict[str, str] = field(default_factory=dict)

    def require(self, *names: str) -> None:
        """Raise ConfigError, which says how to set it, if a setting (``"aws.role"``) is empty."""
        for name in names:
            if not operator.attrgetter(name)(self):
                section, key = name.split(".")
                raise ConfigError(
                    f"{name} is not set: give {key} in section [{section}] of {DEFAULT_FILE},"
                    f" {environment_name(name)} or a flag ({FIELDS[name].metadata['help']})"
                )

    def check_network(self) -> None:
        """Refuse subnets without security groups, and the other way round, with a ConfigError."""
        both = bool(self.network.subnets), bool(self.network.security_groups)
        message = "network.subnets and network.security_groups: give both or neither"
        refuse((both[0] != both[1], message))


SECTIONS: dict[str, type] = {
    f.name: f.type for f in dataclasses.fields(CloudSettings) if isinstance(f.type, type)
    and dataclasses.is_dataclass(f.type)
}  # fmt: skip
FIELDS: dict[str, "dataclasses.Field[Any]"] = {
    f"{top.name}.{f.name}" if top.name in SECTIONS else f.name: f
    for top in dataclasses.fields(CloudSettings)
    for f in (dataclasses.fields(SECTIONS[top.name]) if top.name in SECTIONS else [top])
    if f.metadata
}
"""All settings by name, such as ``"aws.region"`` or ``"project"``, in the order of the file."""


def environment_name(name: str) -> str:
    """Return the environment variable of a setting: ``DOGBREEDS_AWS_REGION`` for ``aws.region``."""
    return ENV_PREFIX + name.replace(".", "_").upper()


def describe(settings: CloudSettings) -> str:
    """Return the settings as TOML, each with its source."""
    to_toml = functools.partial(json.dumps, ensure_ascii=False)  # JSON's values are TOML's
    lines: list[tuple[str, str]] = []
    section = ""
    for name in FIELDS:
        head, _, key = name.rpartition(".")
        value, origin = operator.attrgetter(name)(settings), settings.origins.get(name, "default")
        if head != section or isinstance(value, dict):
            section = name if isinstance(value, dict) else head
            lines += [("", ""), (f"[{section}]", "")]
        table = (
            {to_toml(k): v for k, v in value.items()} if isinstance(value, dict) else {key: value}
        )
        lines += [(f"{k} = {to_toml(v)}", origin) for k, v in table.items()]
    return "\n".join(f"{text:<52}# {origin}" if origin else text for text, origin in lines)
