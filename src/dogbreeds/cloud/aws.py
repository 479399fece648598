"""The one door to AWS: sessions, clients, dry runs, and errors in words."""

import json
import logging
import os
import warnings
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ProfileNotFound,
)

from dogbreeds.cloud.settings import CloudSettings
from dogbreeds.system.errors import DogbreedsError

if TYPE_CHECKING:
    from sagemaker.session import Session

# Throttled and interrupted calls are repeated by botocore, with growing pauses.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 8}, connect_timeout=10, read_timeout=70
)
_READS = ("Describe", "List", "Get", "BatchGet", "Head")


class CloudError(DogbreedsError, RuntimeError):
    """Something on AWS is not as it must be; the message says what to do."""


class Cloud:
    """An account and region to work in.

    Args:
        settings: ``aws.region`` and ``aws.profile`` are used.
        dry_run: Nothing is sent and no credentials are needed. Calls that would change something
            are kept in `requests`; calls that read are answered as an empty account would.

    Raises:
        CloudError: There is no such profile, or no region is known.
    """

    def __init__(self, settings: CloudSettings, *, dry_run: bool = False) -> None:
        self.settings = settings
        self.dry_run = dry_run
        self.requests: list[dict[str, Any]] = []
        quieten_sdk()
        options: dict[str, Any] = {"region_name": settings.aws.region or None}
        if dry_run:
            options |= {"aws_access_key_id": "dry-run", "aws_secret_access_key": "dry-run"}
        elif settings.aws.profile:
            options["profile_name"] = settings.aws.profile
        try:
            self.session = boto3.Session(**options)
        except ProfileNotFound as error:
            raise CloudError(f"{error}: see aws.profile and ~/.aws/config") from error
        if not self.session.region_name:
            raise CloudError("no region is known: set aws.region, AWS_DEFAULT_REGION or --region")
        if dry_run:
            self.session.events.register("before-call", self._record)

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
        if self.dry_run:
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

    def _record(self, model: Any, params: Any, **_: object) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
        """Answer a call in AWS's place; botocore has validated and serialised it already."""
        name = model.name
        if name.startswith(_READS):
            if name.startswith("Describe"):
                error = {"Code": "ValidationException", "Message": "Could not find it (dry run)."}
                return SimpleNamespace(status_code=400), {"Error": error}
            return SimpleNamespace(status_code=200), {}
        self.requests.append({name: json.loads(params["body"])})
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


def error_code(error: Exception) -> str:
    """Return AWS's code of an error, e.g. ``"AccessDeniedException"``; empty for other errors."""
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else ""


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
