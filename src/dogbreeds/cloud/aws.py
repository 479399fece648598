"""The one door to AWS: sessions, clients, dry runs, and errors in words."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from dogbreeds.cloud import validation
from dogbreeds.cloud.settings import CloudSettings, ConfigError
from dogbreeds.system.errors import DogbreedsError

if TYPE_CHECKING:
    from sagemaker.session import Session

# Throttled and interrupted calls are repeated by botocore, with growing pauses.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 8}, connect_timeout=10, read_timeout=70
)
_VALIDATED = ("sagemaker", "application-autoscaling", "cloudwatch")
_READS = ("Describe", "List", "Get", "BatchGet", "Head")


class CloudError(DogbreedsError, RuntimeError):
    """Something on AWS is not as it must be; the message says what to do."""


class Cloud:
    """An account and region to work in.

    Args:
        settings: ``aws.region`` and ``aws.profile`` are used.
        dry_run: Calls that would change something are kept in `requests` instead of being sent.
            No credentials are needed: without them, calls that read are answered as an empty
            account would.

    Attributes:
        requests: What a dry run would have sent, by operation.
        kept: What was found and is left as it is, e.g. ``model dogbreeds-model-1a2b3c``.
        offline: In a dry run, why the account cannot be looked at; empty where it can.

    Raises:
        CloudError: There is no such profile, or no region is known.
    """

    def __init__(self, settings: CloudSettings, *, dry_run: bool = False) -> None:
        self.settings = settings
        self.dry_run = dry_run
        self.requests: list[dict[str, Any]] = []
        self.kept: list[str] = []
        self.offline = ""
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
            self._go_offline_without_account()
        self.session.events.register("before-call", self._record)
        self.session.events.register("before-parameter-build", self._validate)

    def _go_offline_without_account(self) -> None:
        """Find out whether the account can be looked at; go on with made-up credentials if not."""
        quickly = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 1})
        try:
            self.session.client("sts", config=quickly).get_caller_identity()
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            self.offline = self.offline or explain(error)
            self.session = boto3.Session("dry-run", "dry-run", region_name=self.region)

    @contextlib.contextmanager
    def rehearsal(self) -> Iterator[list[dict[str, Any]]]:
        """Give the list of requests that are kept, and not sent, while the context lasts."""
        before = self.dry_run, self.requests
        self.dry_run, self.requests = True, []
        try:
            yield self.requests
        finally:
            self.dry_run, self.requests = before

    def keep(self, kind: str, name: str) -> None:
        """Note that something is there already."""
        self.kept.append(f"{kind} {name}")

    def say(self, text: str) -> None:
        """Tell what is being done on standard error; a dry run does nothing."""
        if not self.dry_run:
            print(text, file=sys.stderr, flush=True)

    @property
    def region(self) -> str:
        """The region's name."""
        return str(self.session.region_name)

    def client(self, service: str, connections: int = 10) -> Any:  # noqa: ANN401  (botocore's)
        """Return a client of a service.

        Args:
            service: Such as ``"ecr"``.
            connections: How many requests may be under way at a time.
        """
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
        """Refuse what SageMaker would refuse; words that botocore does not know, in dry runs."""
        context["parameters"] = params
        if model.service_model.service_name in _VALIDATED and not model.name.startswith(_READS):
            name, shape = model.name, model.input_shape
            if found := list(validation.problems(shape, params, name, enums=self.dry_run)):
                raise ConfigError("\n".join(found))

    def _record(self, model: Any, context: Any, **_: object) -> tuple[Any, dict[str, Any]] | None:  # noqa: ANN401
        """Answer a call in AWS's place; botocore has validated and serialised it already."""
        name = model.name
        if not self.dry_run:
            return None
        if name.startswith(_READS):
            if not self.offline:
                return None
            if name.startswith("Describe") and model.service_model.service_name == "sagemaker":
                error = {"Code": "ValidationException", "Message": "Could not find it (dry run)."}
                return SimpleNamespace(status_code=400), {"Error": error}
            return SimpleNamespace(status_code=200), {}
        self.requests.append({name: dict(context["parameters"])})
        return SimpleNamespace(status_code=200), {}


SDK_CONFIG = {
    "SchemaVersion": "1.0",
    "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}},
}
"""In place of the SDK's configuration files: no telemetry, and no defaults but ours."""


def quieten_sdk() -> None:
    """Silence what the SDK prints beside errors; works only before it is first imported."""
    os.environ.setdefault("SAGEMAKER_SUPPRESS_V2_WARNING", "1")
    warnings.filterwarnings("ignore", module=r"sagemaker\b")
    for name in ("sagemaker", "sagemaker.config", "sagemaker.telemetry"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # sagemaker_core writes its log to standard output, and replaces Python's own tracebacks there.
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
    """Whether an error says that the thing asked for does not exist.

    SageMaker has no code of its own for it in most of its calls, only a phrase.
    """
    code, message = error_code(error), str(error)
    return (
        code in ("ResourceNotFound", "ResourceNotFoundException", "NoSuchKey", "404")
        or code.endswith("NotFoundException")
        or (
            code == "ValidationException"
            and any(p in message.lower() for p in ("could not find", "does not exist", "not found"))
        )
    )


def explain(error: Exception) -> str:
    """Turn an error of botocore's into what happened and what to do."""
    if isinstance(error, NoCredentialsError):
        return (
            "no AWS credentials are found: run aws configure or aws sso login, or set aws.profile"
        )
    if isinstance(error, SSOError | TokenRetrievalError):
        return f"the AWS sign-in has ended: run aws sso login (with your --profile): {error}"
    if isinstance(error, PartialCredentialsError | CredentialRetrievalError):
        return f"the AWS credentials are incomplete: {error}; see aws configure list"
    no_code = isinstance(error, ClientError) and not error_code(error)
    if no_code or isinstance(error, ResponseParserError) or "<html" in str(error).lower():
        return (
            "expected an answer of AWS, got a web page: a proxy stands between (HTTPS_PROXY,"
            " NO_PROXY), or needs a sign-in"
        )
    if isinstance(error, ClientError):
        return _explain_refusal(error)
    if isinstance(error, BotoCoreError):
        return f"cannot talk to AWS: {error}; run the same command again to go on"
    return str(error)


def _explain_refusal(error: ClientError) -> str:
    code, message = error_code(error), error.response["Error"].get("Message", "")
    if code.startswith("ExpiredToken"):
        return (
            "the AWS credentials have expired: refresh them and run the same command again; it"
            " goes on where it stopped"
        )
    if code.startswith(("AccessDenied", "UnauthorizedOperation")):
        return f"not allowed: {message} (iam/ has policies that allow what this project does)"
    if code == "ResourceLimitExceeded":
        return f"a quota is used up: {message} (ask for more under Service Quotas)"
    if is_throttling(error):
        return f"AWS throttled {error.operation_name} for too long: run the same command again"
    return f"{error.operation_name}: {code}: {message}"
