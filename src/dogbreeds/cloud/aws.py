"""Every connection to AWS: sessions, clients, dry runs, and readable errors."""

import contextlib
import logging
import os
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound
from botocore.parsers import ResponseParserError

from dogbreeds.cloud import validation
from dogbreeds.cloud.settings import CloudSettings, ConfigError
from dogbreeds.system.errors import DogbreedsError

if TYPE_CHECKING:
    from sagemaker.session import Session

_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 8}, connect_timeout=10, read_timeout=70
)
AWS_ERRORS = (BotoCoreError, ClientError, ResponseParserError)
"""What botocore raises; `explain` says what to do."""

_VALIDATED = ("sagemaker", "sagemaker-runtime", "application-autoscaling", "cloudwatch")
_READS = ("Describe", "List", "Get", "BatchGet", "Head")


class CloudError(DogbreedsError, RuntimeError):
    """AWS is not in the state that a command needs; the message says what to do."""


class Cloud:
    """An account and region to work in.

    In a dry run, calls that would change something are recorded in `requests` instead of being
    sent. No credentials are needed: without them, read calls are answered as by an empty account.

    CloudError if the profile does not exist, or no region is known.
    """

    def __init__(self, settings: CloudSettings, *, dry_run: bool = False) -> None:
        self.settings = settings
        self.dry_run = dry_run
        self.requests: list[dict[str, Any]] = []  # those of a dry run, by operation
        self.kept: list[str] = []  # what stays unchanged, e.g. ``model dogbreeds-model-1a2b3c``
        self.offline = ""  # in a dry run, why the account cannot be read
        quieten_sdk()
        options: dict[str, Any] = {"region_name": settings.aws.region or None}
        try:
            self.session = boto3.Session(**options, profile_name=settings.aws.profile or None)
        except ProfileNotFound as error:
            if not dry_run:
                raise CloudError(f"{error}: see aws.profile and ~/.aws/config") from error
            self.offline, self.session = str(error), boto3.Session(**options)
        if not self.session.region_name:
            raise CloudError("no region is known: set aws.region, AWS_DEFAULT_REGION or --region")
        if dry_run:
            quickly = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 1})
            try:
                self.session.client("sts", config=quickly).get_caller_identity()
            except AWS_ERRORS as error:
                self.offline = self.offline or explain(error)
                self.session = boto3.Session("dry-run", "dry-run", region_name=self.region)
        self.session.events.register("before-call", self._record)
        self.session.events.register("before-parameter-build", self._validate)
        self.session.events.register("before-parse", _refuse_web_page)

    @contextlib.contextmanager
    def rehearsal(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the list of requests that are recorded, not sent, within the context."""
        before = self.dry_run, self.requests
        self.dry_run, self.requests = True, []
        try:
            yield self.requests
        finally:
            self.dry_run, self.requests = before

    def say(self, text: str) -> None:
        """Print progress on standard error; a dry run prints none."""
        if not self.dry_run:
            print(text, file=sys.stderr, flush=True)

    @property
    def region(self) -> str:
        """The region's name."""
        return str(self.session.region_name)

    def client(self, service: str, connections: int = 10) -> Any:  # noqa: ANN401  (botocore's)
        """Return a service's client, e.g. of ``"ecr"``, for a number of parallel requests."""
        config = _CONFIG.merge(Config(max_pool_connections=connections))
        return self.session.client(service, config=config)

    @cached_property
    def sagemaker(self) -> Any:  # noqa: ANN401
        """SageMaker's client."""
        return self.client("sagemaker")

    @cached_property
    def account(self) -> str:
        """The account's 12 digits."""
        if self.offline:
            return "000000000000"
        return str(self.client("sts").get_caller_identity()["Account"])

    @cached_property
    def sdk(self) -> "Session":
        """The SageMaker SDK's session over the same clients."""
        from sagemaker.session import Session

        return Session(
            boto_session=self.session,
            sagemaker_client=self.sagemaker,
            default_bucket=self.settings.aws.bucket or None,
            sagemaker_config=SDK_CONFIG,
        )

    def _validate(self, params: Any, model: Any, context: Any, **_: object) -> None:  # noqa: ANN401
        """Refuse what SageMaker would refuse; in dry runs also enum values unknown to botocore."""
        context["parameters"] = params
        if model.service_model.service_name in _VALIDATED:
            name, shape = model.name, model.input_shape
            if found := list(validation.problems(shape, params, name, enums=self.dry_run)):
                raise ConfigError("\n".join(found))

    def _record(self, model: Any, context: Any, **_: object) -> tuple[Any, dict[str, Any]] | None:  # noqa: ANN401
        """Answer a call in AWS's place; botocore has validated and serialised it already."""
        name = model.name
        if not self.dry_run or (name.startswith(_READS) and not self.offline):
            return None
        if not name.startswith(_READS):
            self.requests.append({name: dict(context["parameters"])})
        elif name.startswith("Describe") and model.service_model.service_name == "sagemaker":
            error = {"Code": "ValidationException", "Message": "Could not find it (dry run)."}
            return SimpleNamespace(status_code=400), {"Error": error}
        return SimpleNamespace(status_code=200), {}


def _refuse_web_page(response_dict: dict[str, Any], **_: object) -> None:
    """Refuse a proxy's page, which botocore takes for an empty answer if its status is 200."""
    body = response_dict["body"]  # bytes, or a stream
    start = body[:100].lstrip().lower() if isinstance(body, bytes) else b""
    passing = response_dict["status_code"] >= 500  # botocore tries again
    if start.startswith((b"<!doctype html", b"<html")) and not passing:
        raise CloudError(_advice()["errors"]["ResponseParserError"])


SDK_CONFIG = {
    "SchemaVersion": "1.0",
    "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}},
}
"""Replaces the SDK's configuration files: no telemetry, and no defaults but ours."""


def quieten_sdk() -> None:
    """Silence the SDK's notices other than errors; call it before the SDK is first imported."""
    os.environ.setdefault("SAGEMAKER_SUPPRESS_V2_WARNING", "1")
    warnings.filterwarnings("ignore", module=r"sagemaker\b")
    for name in ("sagemaker", "sagemaker.config", "sagemaker.telemetry"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # sagemaker_core logs to standard output and replaces Python's own tracebacks.
    logging.getLogger("sagemaker_core.main.utils").addFilter(lambda _: False)
    with contextlib.suppress(ImportError):
        import rich.traceback

        rich.traceback.install = lambda **_: sys.excepthook


def error_code(error: Exception) -> str:
    """Return AWS's code of an error, e.g. ``"AccessDeniedException"``; empty for other errors."""
    response = error.response if isinstance(error, ClientError) else {}
    return str(response.get("Error", {}).get("Code", ""))


def is_throttling(error: Exception) -> bool:
    """Whether AWS asks to be called less often."""
    code = error_code(error)
    return "Throttling" in code or code in ("TooManyRequestsException", "RequestLimitExceeded")


def is_missing(error: ClientError) -> bool:
    """Whether an error says that a resource is missing: SageMaker's mostly have only a phrase."""
    code, message = error_code(error), str(error)
    phrases = ("could not find", "does not exist", "not found")
    return (
        code in ("ResourceNotFound", "NoSuchKey", "404")
        or code.endswith("NotFoundException")
        or (code == "ValidationException" and any(p in message.lower() for p in phrases))
    )


def get_if_exists(call: Callable[..., Any], **request: object) -> dict[str, Any] | None:
    """Return the answer of a client's call, None if the requested resource does not exist."""
    try:
        return dict(call(**request))
    except ClientError as error:
        if is_missing(error):
            return None
        raise


def every(client: Any, call: str, key: str, **request: object) -> Iterator[Any]:  # noqa: ANN401
    """Yield what all pages of a client's list call have under a key."""
    for page in client.get_paginator(call).paginate(**request):
        yield from page.get(key, [])


def given(**options: object) -> dict[str, Any]:
    """Return the options of a request that are not empty."""
    return {name: value for name, value in options.items() if value}


@cache
def _advice() -> dict[str, dict[str, str]]:
    return tomllib.loads(Path(__file__).with_name("advice.toml").read_text())


def explain(error: Exception) -> str:
    """Return what happened and what to do, for an error raised by botocore."""
    known, codes = _advice()["errors"], _advice()["codes"]
    code = error_code(error)
    if "<html" in str(error).lower() or (isinstance(error, ClientError) and not code):
        return known["ResponseParserError"]
    if not isinstance(error, ClientError):
        names = (kind.__name__ for kind in type(error).__mro__)
        template = next((known[name] for name in names if name in known), "{error}")
        return template.format(error=error)
    code = "Throttling" if is_throttling(error) else code
    template = next((codes[start] for start in codes if code.startswith(start)),
                    f"{{operation}}: {code}: {{error}}")  # fmt: skip
    text = error.response["Error"].get("Message", "")
    return template.format(error=text, operation=error.operation_name)
