"""An endpoint's alarms, dashboard and autoscaling: named after it, and removed with it."""

import json
from pathlib import Path
from typing import Any

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud
from dogbreeds.cloud.endpoints.config import MAIN, endpoint_name

FILE = Path(__file__).with_suffix(".json")
_WAKE = "wake"  # the alarm that starts an instance


def _read(cloud: Cloud, name: str) -> dict[str, Any]:
    text = FILE.read_text().replace("NAME", name).replace("REGION", cloud.region)
    document: dict[str, Any] = json.loads(text)
    return document


def ensure_monitoring(cloud: Cloud, name: str) -> None:
    """Create or update an endpoint's dashboard, and alarms that notify ``endpoint.alarm_topic``."""
    endpoint = cloud.settings.endpoint
    document = _read(cloud, name)
    unused = {_WAKE}
    if endpoint.kind == "serverless":
        unused |= {"disk", "idle"}  # no hosts, and no costs without requests
    if endpoint.scale_to_zero:
        unused |= {"idle"}
    for suffix in document["alarms"]:
        if suffix not in unused:
            _put_alarm(cloud, name, suffix, endpoint.alarm_topic)
    body = json.dumps(document["dashboard"])
    cloud.client("cloudwatch").put_dashboard(DashboardName=name, DashboardBody=body)


def _put_alarm(cloud: Cloud, name: str, suffix: str, action: str) -> None:
    """Create or update one of an endpoint's alarms, with the ARN of what it triggers, if any."""
    alarm = _read(cloud, name)["alarms"][suffix]
    if suffix == "latency":
        alarm["Threshold"] = 1000 * cloud.settings.endpoint.max_latency_ms
    cloud.client("cloudwatch").put_metric_alarm(
        **alarm,
        AlarmName=f"{name}-{suffix}",
        AlarmActions=[action] if action else [],
        Tags=naming.tags(cloud.settings),
    )


def _target(name: str) -> dict[str, str]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/{MAIN}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def scale(cloud: Cloud) -> None:
    """Register autoscaling as the settings say, or remove it."""
    endpoint, name = cloud.settings.endpoint, endpoint_name(cloud.settings)
    if endpoint.kind == "serverless":
        return
    if not endpoint.max_instances:
        _remove_scaling(cloud, name)
        return
    client, target = cloud.client("application-autoscaling"), _target(name)
    least = 0 if endpoint.scale_to_zero else endpoint.instance_count
    client.register_scalable_target(**target, MinCapacity=least, MaxCapacity=endpoint.max_instances)
    policies = _read(cloud, name)["scaling"]
    if endpoint.scale_to_zero:  # target tracking does not start the first instance
        policy = client.put_scaling_policy(
            **target, PolicyName=f"{name}-{_WAKE}", **policies[_WAKE]
        )
        _put_alarm(cloud, name, _WAKE, policy.get("PolicyARN", ""))  # none in a dry run
    load = policies["backlog" if endpoint.kind == "async" else "requests"]
    tracking = load["TargetTrackingScalingPolicyConfiguration"]
    tracking["TargetValue"] = float(endpoint.requests_per_instance)
    client.put_scaling_policy(**target, PolicyName=f"{name}-load", **load)


def remove(cloud: Cloud, name: str) -> None:
    """Remove the scaling, the alarms and the dashboard of an endpoint, if there are any."""
    _remove_scaling(cloud, name)
    client = cloud.client("cloudwatch")
    names = [f"{name}-{suffix}" for suffix in _read(cloud, name)["alarms"]]
    found = client.describe_alarms(AlarmNames=names)["MetricAlarms"]
    if found:  # with a missing name among them, CloudWatch would delete none
        client.delete_alarms(AlarmNames=[alarm["AlarmName"] for alarm in found])
    if client.list_dashboards(DashboardNamePrefix=name).get("DashboardEntries"):
        client.delete_dashboards(DashboardNames=[name])


def _remove_scaling(cloud: Cloud, name: str) -> None:
    client, target = cloud.client("application-autoscaling"), _target(name)
    service, resource = target["ServiceNamespace"], target["ResourceId"]
    found = client.describe_scalable_targets(ServiceNamespace=service, ResourceIds=[resource])
    if found.get("ScalableTargets"):
        client.deregister_scalable_target(**target)
