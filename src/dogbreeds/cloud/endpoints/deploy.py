"""Endpoints: from archives to live models, and from one version to the next.

Model and endpoint configuration are named by what they are made of, so that the same command run
again finds them and goes on where it was interrupted.
"""

import sys
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from dogbreeds.cloud import drivers, naming
from dogbreeds.cloud.aws import Cloud, CloudError, is_missing
from dogbreeds.cloud.endpoints.models import ensure_model
from dogbreeds.cloud.images.uri import base_image
from dogbreeds.cloud.jobs import follow
from dogbreeds.cloud.settings import CloudSettings, ConfigError

MAIN, CHALLENGER, SHADOW = "main", "challenger", "shadow"
_DIMENSION = "sagemaker:variant:DesiredInstanceCount"


@dataclass(frozen=True)
class Side:
    """A second model beside the main one.

    Attributes:
        source: As in `models.archive_of`.
        share: Of the requests, above 0 and below 1 (a shadow may have 1).
    """

    source: str
    share: float

    @classmethod
    def parse(cls, text: str, *, most: float) -> "Side":
        """Read ``MODEL@SHARE``, e.g. ``my-job@0.1``.

        Raises:
            ConfigError: It is something else, or the share is out of range.
        """
        source, at, share = text.rpartition("@")
        try:
            side = cls(source, float(share))
        except ValueError:
            side = cls(source, -1)
        if not at or not source or not 0 < side.share <= most:
            raise ConfigError(f"expected MODEL@SHARE with a share of 0 to {most:g}, got {text!r}")
        return side


def endpoint_name(settings: CloudSettings) -> str:
    """Return the name of the endpoint that the settings speak of."""
    return settings.endpoint.name or settings.project


def check(settings: CloudSettings, challenger: Side | None, shadow: Side | None) -> None:
    """Refuse what SageMaker would refuse.

    Raises:
        ConfigError: Settings do not go together.
    """
    endpoint = settings.endpoint
    settings.require("aws.role")
    if not endpoint.name.startswith(settings.project) and endpoint.name:
        raise ConfigError(
            f"endpoint.name: expected a name that begins with {settings.project}, so that"
            f" dogbreeds list finds it, got {endpoint.name}"
        )
    if endpoint.memory_mb % 1024:
        raise ConfigError(f"endpoint.memory_mb: expected a multiple of 1024: {endpoint.memory_mb}")
    if endpoint.kind == "serverless" and (settings.network.subnets or settings.network.isolation):
        raise ConfigError("a serverless endpoint has no VPC and no network isolation")
    if endpoint.kind != "real-time" and (shadow or endpoint.capture_percent):
        raise ConfigError("a shadow and data capture need endpoint.kind real-time")
    if endpoint.kind != "real-time" and challenger:
        raise ConfigError("a challenger needs endpoint.kind real-time")
    if endpoint.kind == "multi-model" and drivers.has_gpu(endpoint.instance_type):
        raise ConfigError(
            f"a multi-model endpoint of this image needs a CPU instance, got"
            f" {endpoint.instance_type}: on GPUs SageMaker wants Triton for it"
        )
    if challenger and shadow:
        raise ConfigError("SageMaker allows a shadow beside one model only: no challenger with it")
    if endpoint.kind == "async" or endpoint.capture_percent:
        settings.require("aws.bucket")
    if 0 < endpoint.max_instances < endpoint.instance_count:
        raise ConfigError(
            f"endpoint.max_instances: expected at least endpoint.instance_count"
            f" ({endpoint.instance_count}), got {endpoint.max_instances}"
        )
    if endpoint.max_instances and endpoint.kind == "serverless":
        raise ConfigError(
            "a serverless endpoint scales by itself: leave out endpoint.max_instances"
        )


def deploy(
    cloud: Cloud, source: str, *, challenger: Side | None = None, shadow: Side | None = None
) -> str:
    """Make an endpoint, or bring it to a new version; what is there already is left as it is.

    Args:
        cloud: Where, with which settings.
        source: The main model, as in `models.archive_of`.
        challenger: Answers its share of the requests (A/B test).
        shadow: Gets copies of its share of the requests; its answers are dropped.

    Returns:
        The name of the endpoint configuration that is or becomes live.

    Raises:
        ConfigError, CloudError: Something is missing or impossible, or the endpoint is busy.
    """
    settings = cloud.settings
    check(settings, challenger, shadow)
    name = endpoint_name(settings)
    status = _existing(cloud, name)
    config = _ensure_config(cloud, source, challenger, shadow)
    if status is None:
        _say(f"Creating endpoint {name}")
        cloud.sagemaker.create_endpoint(
            EndpointName=name, EndpointConfigName=config, Tags=naming.tags(settings)
        )
    elif status["EndpointConfigName"] == config and status["EndpointStatus"] != "Failed":
        _say(f"Endpoint {name} has this configuration already ({status['EndpointStatus']})")
    elif status["EndpointStatus"] == "InService":
        _say(f"Updating endpoint {name}: {settings.endpoint.update}")
        cloud.sagemaker.update_endpoint(
            EndpointName=name, EndpointConfigName=config, **_update_options(settings)
        )
    elif status["EndpointStatus"] == "Failed":
        reason = status.get("FailureReason", "no reason given")
        raise CloudError(f"endpoint {name} failed ({reason}): run dogbreeds delete {name} first")
    else:
        raise CloudError(
            f"endpoint {name} is {status['EndpointStatus']} to something else: wait until it is"
            " InService and run the same command again"
        )
    return config


def _existing(cloud: Cloud, name: str) -> dict[str, Any] | None:
    """Return the description of an endpoint of ours, None where there is none.

    Raises:
        CloudError: The endpoint is somebody else's.
    """
    try:
        description: dict[str, Any] = cloud.sagemaker.describe_endpoint(EndpointName=name)
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    tags = cloud.sagemaker.list_tags(ResourceArn=description["EndpointArn"])["Tags"]
    if {"Key": naming.PROJECT_TAG, "Value": cloud.settings.project} not in tags:
        raise CloudError(
            f"endpoint {name} was not made by this project (it lacks the tag"
            f" {naming.PROJECT_TAG}): choose another endpoint.name"
        )
    return description


def _ensure_config(cloud: Cloud, source: str, challenger: Side | None, shadow: Side | None) -> str:
    settings = cloud.settings
    endpoint = settings.endpoint
    weight = 1 - challenger.share if challenger else 1.0
    request: dict[str, Any] = {
        "ProductionVariants": [_variant(settings, MAIN, ensure_model(cloud, source), weight)]
    }
    if challenger:
        model = ensure_model(cloud, challenger.source)
        request["ProductionVariants"].append(
            _variant(settings, CHALLENGER, model, challenger.share)
        )
    if shadow:
        model = ensure_model(cloud, shadow.source)
        request["ShadowProductionVariants"] = [_variant(settings, SHADOW, model, shadow.share)]
    root = f"s3://{settings.aws.bucket}/{settings.aws.prefix}"
    if endpoint.capture_percent:
        request["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": endpoint.capture_percent,
            "DestinationS3Uri": f"{root}/captured",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            **_if(KmsKeyId=settings.aws.kms_key),
        }
    if endpoint.kind == "async":
        request["AsyncInferenceConfig"] = {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": endpoint.concurrency},
            "OutputConfig": {
                "S3OutputPath": f"{root}/async/answers",
                "S3FailurePath": f"{root}/async/failures",
                **_if(KmsKeyId=settings.aws.kms_key),
            },
        }
    if endpoint.kind != "serverless" and not drivers.has_local_disk(endpoint.instance_type):
        request |= _if(KmsKeyId=settings.aws.kms_key)
    name = f"{settings.project}-config-{naming.fingerprint(request)}"
    try:
        cloud.sagemaker.describe_endpoint_config(EndpointConfigName=name)
    except ClientError as error:
        if not is_missing(error):
            raise
        cloud.sagemaker.create_endpoint_config(
            EndpointConfigName=name, Tags=naming.tags(settings), **request
        )
    return name


def _variant(settings: CloudSettings, name: str, model: str, weight: float) -> dict[str, Any]:
    endpoint = settings.endpoint
    variant: dict[str, Any] = {"VariantName": name, "ModelName": model}
    if endpoint.kind == "serverless":
        return variant | {
            "ServerlessConfig": {
                "MemorySizeInMB": endpoint.memory_mb,
                "MaxConcurrency": endpoint.concurrency,
            }
        }
    ami = endpoint.ami_version or drivers.endpoint_ami(
        endpoint.instance_type, drivers.cuda_of_base(base_image(settings, "serving"))
    )
    return variant | {
        "InstanceType": endpoint.instance_type,
        "InitialInstanceCount": endpoint.instance_count,
        "InitialVariantWeight": round(weight, 6),
        "ContainerStartupHealthCheckTimeoutInSeconds": endpoint.startup_seconds,
        **_if(InferenceAmiVersion=ami),
    }


def _if(**options: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the options that are not empty."""
    return {name: value for name, value in options.items() if value}


def _update_options(settings: CloudSettings) -> dict[str, Any]:
    """Return how an update goes about: blue/green, with rollback on alarms."""
    endpoint = settings.endpoint
    options: dict[str, Any] = {}
    if endpoint.max_instances:  # the number of instances is the scaling's business
        options["RetainAllVariantProperties"] = True
        options["ExcludeRetainedVariantProperties"] = [
            {"VariantPropertyType": "DesiredWeight"},
            {"VariantPropertyType": "DataCaptureConfig"},
        ]
    if endpoint.kind != "real-time":
        return options
    step = {"Type": "CAPACITY_PERCENT", "Value": endpoint.step_percent}
    routing: dict[str, Any] = {
        "Type": endpoint.update.upper().replace("-", "_"),
        "WaitIntervalInSeconds": endpoint.bake_seconds,
    }
    if endpoint.update == "canary":
        routing["CanarySize"] = step
    elif endpoint.update == "linear":
        routing["LinearStepSize"] = step
    options["DeploymentConfig"] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": endpoint.bake_seconds,
        }
    }
    if endpoint.alarms:
        options["DeploymentConfig"]["AutoRollbackConfiguration"] = {
            "Alarms": [{"AlarmName": alarm} for alarm in endpoint.alarms]
        }
    return options


def wait(cloud: Cloud, config: str) -> None:
    """Wait until the endpoint runs a configuration.

    Args:
        cloud: Where, with which settings.
        config: As `deploy` returns it.

    Raises:
        CloudError: It failed or was rolled back; the message has SageMaker's reason and the
            container's last lines.
    """
    name = endpoint_name(cloud.settings)
    description = follow.follow(
        cloud,
        describe=lambda: dict(cloud.sagemaker.describe_endpoint(EndpointName=name)),
        status_key="EndpointStatus",
    )
    status = description["EndpointStatus"]
    if status == "InService" and description["EndpointConfigName"] == config:
        return
    reason = description.get("FailureReason", "no reason given")
    if status == "InService":
        status = "back at its former version"
    lines = follow.last_lines(cloud, f"/aws/sagemaker/Endpoints/{name}")
    said = "\n".join(["The container's last lines:", *lines]) if lines else "No log was written."
    raise CloudError(f"endpoint {name} is {status}: {reason}\n{said}")


def scale(cloud: Cloud) -> None:
    """Set the number of instances to follow the load, or end that, as the settings say."""
    endpoint = cloud.settings.endpoint
    name = endpoint_name(cloud.settings)
    if endpoint.kind == "serverless":
        return
    client = cloud.client("application-autoscaling")
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/{MAIN}",
        "ScalableDimension": _DIMENSION,
    }
    if not endpoint.max_instances:
        remove_scaling(cloud, name)
        return
    client.register_scalable_target(
        **target, MinCapacity=endpoint.instance_count, MaxCapacity=endpoint.max_instances
    )
    if endpoint.kind == "async":
        metric: dict[str, Any] = {
            "CustomizedMetricSpecification": {
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Namespace": "AWS/SageMaker",
                "Dimensions": [{"Name": "EndpointName", "Value": name}],
                "Statistic": "Average",
            }
        }
    else:
        metric = {
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
            }
        }
    client.put_scaling_policy(
        **target,
        PolicyName=f"{name}-load",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": float(endpoint.requests_per_instance),
            "ScaleInCooldown": 300,
            "ScaleOutCooldown": 60,
            **metric,
        },
    )


def remove_scaling(cloud: Cloud, name: str) -> None:
    """Remove the scaling of an endpoint's variants, if there is any."""
    client = cloud.client("application-autoscaling")
    found = client.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[f"endpoint/{name}/variant/{MAIN}"]
    )
    for target in found.get("ScalableTargets", []):
        client.deregister_scalable_target(
            ServiceNamespace="sagemaker",
            ResourceId=target["ResourceId"],
            ScalableDimension=target["ScalableDimension"],
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
