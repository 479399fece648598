"""Endpoint configurations: models, hosts and data capture."""

import re
from dataclasses import dataclass
from typing import Any

from dogbreeds.cloud import drivers, naming
from dogbreeds.cloud.aws import Cloud, get_if_exists, given
from dogbreeds.cloud.endpoints.models import ensure_model
from dogbreeds.cloud.images.uri import cuda_of_image
from dogbreeds.cloud.settings import CloudSettings, ConfigError, refuse

MAIN, CHALLENGER, SHADOW = "main", "challenger", "shadow"
_MIN_STEP = {"linear": 10, "rolling": 5}  # SageMaker's own limits, in percent


@dataclass(frozen=True)
class Variant:
    """A second model beside the main one."""

    source: str  # as in `models.artifact_of`
    share: float  # of the requests, above 0 and below 1 (up to 1 for a shadow)

    @classmethod
    def parse(cls, text: str, *, most: float) -> "Variant":
        """Read ``MODEL@SHARE``, e.g. ``my-job@0.1``; ConfigError if it has another form."""
        source, _, number = text.rpartition("@")
        share = float(number) if re.fullmatch(r"\d*\.?\d+", number) else 0
        if not source or not 0 < share <= most:
            raise ConfigError(f"expected MODEL@SHARE with a share of 0 to {most:g}, got {text!r}")
        return cls(source, share)


def endpoint_name(settings: CloudSettings) -> str:
    """Return the endpoint's name in the settings, see `naming.own_name`."""
    return naming.own_name(settings, settings.endpoint.name or settings.project)


def check(settings: CloudSettings, challenger: Variant | None, shadow: Variant | None) -> None:
    """Raise ConfigError for settings that are missing or that SageMaker would refuse."""
    endpoint, network = settings.endpoint, settings.network
    real_time, serverless = endpoint.kind == "real-time", endpoint.kind == "serverless"
    settings.require("aws.role")
    settings.check_network()
    if endpoint.kind == "async" or endpoint.capture_percent:
        settings.require("aws.bucket")
    least_step = _MIN_STEP.get(endpoint.update, 0)
    least, most = endpoint.instance_count, endpoint.max_instances
    refuse(
        (endpoint.memory_mb % 1024,
         f"endpoint.memory_mb: expected a multiple of 1024, got {endpoint.memory_mb}"),
        (serverless and (network.subnets or network.isolation),
         "a serverless endpoint has no VPC and no network isolation"),
        (serverless and settings.images.flavor == "gpu",
         "a serverless endpoint has no GPU: use the CPU image (images.flavor cpu)"),
        (serverless and most,
         "a serverless endpoint scales by itself: omit endpoint.max_instances"),
        (endpoint.step_percent < least_step,
         f"endpoint.step_percent: expected at least {least_step} for update {endpoint.update}, got"
         f" {endpoint.step_percent}"),
        (endpoint.scale_to_zero and (endpoint.kind != "async" or not most),
         "endpoint.scale_to_zero needs kind async and endpoint.max_instances"),
        (not real_time and (challenger or shadow or endpoint.capture_percent),
         "a challenger, a shadow and data capture need endpoint.kind real-time"),
        (endpoint.kind == "multi-model" and drivers.has_gpu(endpoint.instance_type),
         "a multi-model endpoint of this image needs a CPU instance, got"
         f" {endpoint.instance_type}: on GPUs SageMaker requires Triton for it"),
        (challenger and shadow,
         "SageMaker allows a shadow beside one model only: no challenger with it"),
        (0 < most < least,
         f"endpoint.max_instances: expected at least endpoint.instance_count, {least}, got {most}"),
    )  # fmt: skip


def ensure_config(
    cloud: Cloud, source: str, challenger: Variant | None, shadow: Variant | None
) -> str:
    """Return the name of `deploy`'s endpoint configuration, created unless an equal one exists."""
    settings = cloud.settings
    endpoint = settings.endpoint
    weight = 1 - challenger.share if challenger else 1.0
    variants = [_variant(cloud, MAIN, source, weight)]
    if challenger:
        variants.append(_variant(cloud, CHALLENGER, challenger.source, challenger.share))
    request: dict[str, Any] = {"ProductionVariants": variants}
    if shadow:
        mirror = _variant(cloud, SHADOW, shadow.source, shadow.share)
        request["ShadowProductionVariants"] = [mirror]
    root = f"s3://{settings.aws.bucket}/{settings.aws.prefix}"
    if endpoint.capture_percent:
        request["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": endpoint.capture_percent,
            "DestinationS3Uri": f"{root}/captured",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            **given(KmsKeyId=settings.aws.kms_key),
        }
    if endpoint.kind == "async":
        request["AsyncInferenceConfig"] = {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": endpoint.concurrency},
            "OutputConfig": {
                "S3OutputPath": f"{root}/async/answers",
                "S3FailurePath": f"{root}/async/failures",
                **given(KmsKeyId=settings.aws.kms_key),
            },
        }
    if endpoint.kind != "serverless" and not drivers.has_local_disk(endpoint.instance_type):
        request |= given(KmsKeyId=settings.aws.kms_key)
    name = f"{settings.project}-config-{naming.fingerprint(request)}"
    if get_if_exists(cloud.sagemaker.describe_endpoint_config, EndpointConfigName=name):
        cloud.kept.append(f"endpoint configuration {name}")
    else:
        cloud.sagemaker.create_endpoint_config(
            EndpointConfigName=name, Tags=naming.tags(settings), **request
        )
    return name


def _variant(cloud: Cloud, name: str, source: str, weight: float) -> dict[str, Any]:
    endpoint = cloud.settings.endpoint
    variant: dict[str, Any] = {"VariantName": name, "ModelName": ensure_model(cloud, source)}
    if endpoint.kind == "serverless":
        limits = {"MemorySizeInMB": endpoint.memory_mb, "MaxConcurrency": endpoint.concurrency}
        return variant | {"ServerlessConfig": limits}
    ami = endpoint.ami_version
    if not ami and drivers.has_gpu(endpoint.instance_type):
        ami = drivers.endpoint_ami(endpoint.instance_type, cuda_of_image(cloud, "serving")) or ""
    return variant | {
        "InstanceType": endpoint.instance_type,
        "InitialInstanceCount": endpoint.instance_count,
        "InitialVariantWeight": round(weight, 6),
        "ContainerStartupHealthCheckTimeoutInSeconds": endpoint.startup_seconds,
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
        **given(InferenceAmiVersion=ami),
    }
