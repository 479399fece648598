"""Training jobs: a generic Estimator with our image, channels and metrics."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dogbreeds.cloud import drivers, naming, prices, s3
from dogbreeds.cloud.aws import Cloud, CloudError, given
from dogbreeds.cloud.images.uri import job_image
from dogbreeds.cloud.jobs import follow
from dogbreeds.cloud.jobs.submit import submit_once
from dogbreeds.cloud.settings import CloudSettings, ConfigError, refuse
from dogbreeds.data.folders import SPLITS
from dogbreeds.job_output.metrics import METRIC_DEFINITIONS
from dogbreeds.model.architectures import ModelError, check_architecture
from dogbreeds.training.settings import Settings, SettingsError

if TYPE_CHECKING:
    from sagemaker.estimator import Estimator

_RULES = ("vanishing_gradient", "loss_not_decreasing", "overfit")
BAKED_WEIGHTS = "resnet18"
"""The architecture whose ImageNet weights are in the training image."""


def check(settings: CloudSettings) -> Settings:
    """Return the hyperparameters; ConfigError if SageMaker or the job would refuse the settings."""
    settings.require("aws.role", "aws.bucket", "training.data")
    settings.check_network()
    job = settings.training
    origin = settings.origins.get("training.hyperparameters", "hyperparameters")
    try:
        hyperparameters = Settings.from_mapping(job.hyperparameters)
        check_architecture(hyperparameters.model)
    except (SettingsError, ModelError) as error:
        raise ConfigError(f"{origin}: {error}") from error
    weights, model = hyperparameters.weights, hyperparameters.model
    refuse(
        (weights == "imagenet" and model != BAKED_WEIGHTS,
         f"{origin}: ImageNet weights of {model} are requested, only those of {BAKED_WEIGHTS} are"
         " in the image, and nothing is downloaded: give a file by training.weights and"
         " hyperparameter weights, or train from weights=none"),
        (weights not in ("imagenet", "none") and not job.weights,
         f"{origin}: the weights file {weights} is requested, which comes by the channel `weights`:"
         " set training.weights to its s3:// folder"),
        (job.spot and job.max_wait < job.max_run,
         "training.max_wait includes the run time: expected at least training.max_run"
         f" ({job.max_run}), got {job.max_wait}"),
        (job.spot and job.warm_pool,
         "training.warm_pool does not go with training.spot: choose one"),
    )  # fmt: skip
    return hyperparameters


def channels(cloud: Cloud) -> dict[str, str]:
    """Return the S3 address of each channel: the existing splits, and initial weights.

    ConfigError if ``train/`` is missing, or both ``valid/`` and ``test/``.
    """
    settings = cloud.settings
    root = settings.training.data.rstrip("/")
    there = {s: uri for s in SPLITS if s3.holds_objects(cloud, uri := f"{root}/{s}/")}
    missing = "valid/ or test/" if "train" in there else "train/"
    refuse(
        ("train" not in there or len(there) == 1,
         f"training.data: expected train/ and valid/ or test/ with photos in {root}, found no"
         f" {missing}: dogbreeds data upload FOLDER sends them"),
    )  # fmt: skip
    if settings.training.weights:
        there["weights"] = settings.training.weights
    return there


def make_estimator(
    cloud: Cloud, checkpoints: str | None, hyperparameters: Mapping[str, str]
) -> "Estimator":
    """Return the Estimator of a training or tuning job with checked settings.

    `checkpoints` is the folder of the job's checkpoints below the prefix, used on Spot capacity;
    without one, checkpoints are not stored.
    """
    from sagemaker.debugger import DebuggerHookConfig, ProfilerConfig, Rule, rule_configs
    from sagemaker.estimator import Estimator

    settings = cloud.settings
    job, network = settings.training, settings.network
    root = f"s3://{settings.aws.bucket}/{settings.aws.prefix}"
    stores_checkpoints = job.spot and checkpoints is not None
    rules = _RULES if job.debugger else ()  # the SDK adds the tensors that they need
    volume_key = "" if drivers.has_local_disk(job.instance_type) else settings.aws.kms_key
    image = job_image(cloud, "training")
    price = prices.per_hour(settings, job.instance_type, job.instance_count)
    facts = given(DOGBREEDS_IMAGE=image, DOGBREEDS_USD_PER_HOUR=price and f"{price:.4f}")
    return Estimator(
        image_uri=image,
        role=settings.aws.role,
        instance_count=job.instance_count,
        instance_type=job.instance_type,
        keep_alive_period_in_seconds=job.warm_pool or None,
        volume_size=job.volume_gb,
        volume_kms_key=volume_key or None,
        max_run=job.max_run,
        input_mode=job.input_mode,
        output_path=f"{root}/jobs",
        output_kms_key=settings.aws.kms_key or None,
        sagemaker_session=cloud.sdk,
        hyperparameters=dict(hyperparameters),
        tags=naming.tags(settings),
        subnets=list(network.subnets) or None,
        security_group_ids=list(network.security_groups) or None,
        metric_definitions=METRIC_DEFINITIONS,
        max_retry_attempts=job.retries or None,
        encrypt_inter_container_traffic=network.encrypt_traffic or None,
        use_spot_instances=job.spot,
        max_wait=job.max_wait if job.spot else None,
        checkpoint_s3_uri=f"{root}/checkpoints/{checkpoints}" if stores_checkpoints else None,
        enable_network_isolation=network.isolation,
        environment={**facts, **job.environment},  # facts are for the report
        debugger_hook_config=job.debugger and DebuggerHookConfig(f"{root}/debugger"),
        rules=[Rule.sagemaker(getattr(rule_configs, rule)()) for rule in rules] or None,
        disable_profiler=not job.profiler,
        profiler_config=ProfilerConfig(f"{root}/profiler", 500) if job.profiler else None,
    )


def start(cloud: Cloud, *, name: str | None = None, new: bool = False) -> str:
    """Start a training job, or find the one that the same command started before; return its name.

    For `name`, `new` and CloudError see `submit_once`; ConfigError if the settings are invalid.
    """
    settings = cloud.settings
    check(settings)
    request = [job_image(cloud, "training"), settings.training, settings.network, settings.aws]
    prefix = naming.job_prefix(settings, "train", request)
    inputs = channels(cloud)

    def submit(name: str) -> None:
        estimator = make_estimator(cloud, name, settings.training.hyperparameters)
        estimator.fit(dict(inputs), wait=False, job_name=name)
        if estimator.latest_training_job is None:  # the SDK's telemetry wrapper swallows Ctrl-C
            raise KeyboardInterrupt

    return submit_once(cloud, "TrainingJob", prefix, submit, name=name, new=new)


def final_metrics(description: dict[str, Any]) -> dict[str, float]:
    """Return a training job's final metrics from its description."""
    found = description.get("FinalMetricDataList", [])
    return {metric["MetricName"]: float(metric["Value"]) for metric in found}


def report(cloud: Cloud, description: dict[str, Any]) -> str:
    """Return the metrics, cost and artifact of a job from its description, as lines for people."""
    lines = [f"{description['TrainingJobName']}: {description['TrainingJobStatus']}"]
    lines += [f"  {name:<20}{value:.4f}" for name, value in final_metrics(description).items()]
    billable = description.get("BillableTimeInSeconds", 0)
    resources = description.get("ResourceConfig", {})
    count = resources.get("InstanceCount", 1)
    lines.append(f"  {'billable':<20}{billable * count} s ({count} x {billable} s)")
    hours = billable * count / 3600
    price = prices.per_hour(cloud.settings, resources.get("InstanceType", ""), hours)
    if price is not None:
        lines.append(f"  {'cost, about':<20}{price:.2f} USD")
    trained = description.get("TrainingTimeInSeconds", 0)
    if description.get("EnableManagedSpotTraining") and trained:
        lines.append(f"  {'saved by Spot':<20}{1 - billable / trained:.0%}")
    if artifacts := description.get("ModelArtifacts", {}).get("S3ModelArtifacts"):
        lines.append(f"  {'model':<20}{artifacts}")
    return "\n".join(lines)


def wait(cloud: Cloud, name: str) -> dict[str, Any]:
    """Follow a job's log to its end; return its description, or raise CloudError with a reason."""
    description = follow.follow(cloud, "TrainingJob", name, log=True)
    if description["TrainingJobStatus"] != "Completed":
        raise CloudError(f"{report(cloud, description)}\n{follow.reason(description)}")
    return description
