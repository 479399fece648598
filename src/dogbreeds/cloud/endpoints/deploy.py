"""Endpoints: from artifacts to live models, and from one version to the next.

Model and endpoint configuration are named by fingerprints, so that a repeated command finds them
and resumes where it was interrupted.
"""

from collections.abc import Sequence
from typing import Any

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud, CloudError, get_if_exists, given
from dogbreeds.cloud.endpoints import operations
from dogbreeds.cloud.endpoints.config import Variant, check, endpoint_name, ensure_config
from dogbreeds.cloud.jobs import follow
from dogbreeds.cloud.settings import CloudSettings


def deploy(
    cloud: Cloud, source: str, *, challenger: Variant | None = None, shadow: Variant | None = None
) -> str:
    """Create an endpoint, or update it to a new version; an equal one is left as it is.

    `source` is the main model, as in `models.artifact_of`; `challenger` answers its share of the
    requests (A/B test); `shadow` gets copies of its share, and its answers are dropped. Returned is
    the name of the endpoint configuration that is or becomes live. ConfigError or CloudError if
    something is missing or invalid, or the endpoint is busy.
    """
    settings = cloud.settings
    check(settings, challenger, shadow)
    name = endpoint_name(settings)
    status = get_if_exists(cloud.sagemaker.describe_endpoint, EndpointName=name)
    if status is not None:
        tags = cloud.sagemaker.list_tags(ResourceArn=status["EndpointArn"])["Tags"]
        if not naming.is_ours(settings, tags):
            raise CloudError(
                f"endpoint {name} was not made by this project (it lacks the tag"
                f" {naming.PROJECT_TAG}): choose another endpoint.name"
            )
    config = ensure_config(cloud, source, challenger, shadow)
    if settings.endpoint.monitoring:
        operations.ensure_monitoring(cloud, name)
    if status is None:
        cloud.say(f"Creating endpoint {name}")
        cloud.sagemaker.create_endpoint(
            EndpointName=name,
            EndpointConfigName=config,
            Tags=naming.tags(settings),
            **given(DeploymentConfig=_rollback(settings.endpoint.alarms)),
        )
    elif status["EndpointConfigName"] == config and status["EndpointStatus"] != "Failed":
        cloud.kept.append(f"endpoint {name}")
        cloud.say(f"Endpoint {name} has this configuration already ({status['EndpointStatus']})")
    elif status["EndpointStatus"] == "InService":
        cloud.say(f"Updating endpoint {name}: {settings.endpoint.update}")
        cloud.sagemaker.update_endpoint(
            EndpointName=name, EndpointConfigName=config, **_update_options(settings)
        )
    elif status["EndpointStatus"] == "Failed":
        reason = follow.reason(status)
        raise CloudError(f"endpoint {name} failed ({reason}): run dogbreeds delete {name} first")
    else:
        raise CloudError(
            f"endpoint {name} is {status['EndpointStatus']} to something else: wait until it is"
            " InService and run the same command again"
        )
    return config


def _update_options(settings: CloudSettings) -> dict[str, Any]:
    """Return the options of an update, with rollback on alarms."""
    endpoint = settings.endpoint
    options: dict[str, Any] = {}
    if endpoint.max_instances:  # autoscaling sets the number of instances
        options["RetainAllVariantProperties"] = True
        options["ExcludeRetainedVariantProperties"] = [
            {"VariantPropertyType": "DesiredWeight"},
            {"VariantPropertyType": "DataCaptureConfig"},
        ]
    if endpoint.kind != "real-time":
        return options
    step = {"Type": "CAPACITY_PERCENT", "Value": endpoint.step_percent}
    bake = {"WaitIntervalInSeconds": endpoint.bake_seconds}
    if endpoint.update == "rolling":
        policy: dict[str, Any] = {"RollingUpdatePolicy": {"MaximumBatchSize": step, **bake}}
    else:
        sizes = {"canary": {"CanarySize": step}, "linear": {"LinearStepSize": step}}
        kind = endpoint.update.upper().replace("-", "_")
        routing = {"Type": kind, **bake, **sizes.get(endpoint.update, {})}
        blue_green = {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": endpoint.bake_seconds,
        }
        policy = {"BlueGreenUpdatePolicy": blue_green}
    name = endpoint_name(settings)
    own = [f"{name}-5xx", f"{name}-latency"] if endpoint.monitoring else []
    return options | {"DeploymentConfig": policy | _rollback(endpoint.alarms or own)}


def _rollback(names: Sequence[str]) -> dict[str, Any]:
    """Return the part of a deployment's configuration that rolls it back on an alarm."""
    chosen = [{"AlarmName": name} for name in names]
    return {"AutoRollbackConfiguration": {"Alarms": chosen}} if chosen else {}


def wait(cloud: Cloud, config: str) -> None:
    """Wait until the endpoint runs a configuration, as returned by `deploy`.

    CloudError if it failed or was rolled back; the message contains SageMaker's reason and the
    container's last log lines.
    """
    name = endpoint_name(cloud.settings)
    description = follow.follow(cloud, "Endpoint", name)
    status = description["EndpointStatus"]
    if status == "InService" and description["EndpointConfigName"] == config:
        return
    if status == "InService":
        status = "back at its former version"
    lines = follow.last_lines(cloud, f"/aws/sagemaker/Endpoints/{name}")
    said = "\n".join(["The container's last lines:", *lines]) if lines else "No log was written."
    raise CloudError(f"endpoint {name} is {status}: {follow.reason(description)}\n{said}")
