"""Alarms and a dashboard of an endpoint: made with it, named after it, removed with it."""

import json
from typing import Any

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud
from dogbreeds.cloud.endpoints.config import MAIN
from dogbreeds.cloud.settings import CloudSettings

_SERVICE, _HOSTS = "AWS/SageMaker", "/aws/sagemaker/Endpoints"
_ABOVE, _BELOW = "GreaterThanThreshold", "LessThanThreshold"
_SUFFIXES = ("5xx", "latency", "idle", "disk", "wake")


def _alarms(settings: CloudSettings) -> dict[str, dict[str, Any]]:
    """Return what is watched, by the end of the alarm's name."""
    latency = 1000 * settings.endpoint.max_latency_ms  # SageMaker counts microseconds
    alarms: dict[str, dict[str, Any]] = {
        "5xx": {
            "AlarmDescription": "more than 5 % of the requests failed in each of 3 minutes",
            "Namespace": _SERVICE, "MetricName": "Invocation5XXErrors", "Statistic": "Average",
            "Period": 60, "EvaluationPeriods": 3, "Threshold": 0.05, "ComparisonOperator": _ABOVE,
        },
        "latency": {
            "AlarmDescription": "95 % of the answers took longer than expected, for 3 minutes",
            "Namespace": _SERVICE, "MetricName": "ModelLatency", "ExtendedStatistic": "p95",
            "Period": 60, "EvaluationPeriods": 3, "Threshold": latency,
            "ComparisonOperator": _ABOVE,
        },
        "idle": {
            "AlarmDescription": "no request for 24 hours, while the endpoint costs money",
            "Namespace": _SERVICE, "MetricName": "Invocations", "Statistic": "Sum",
            "Period": 3600, "EvaluationPeriods": 24, "Threshold": 1, "ComparisonOperator": _BELOW,
            "TreatMissingData": "breaching",
        },
        "disk": {
            "AlarmDescription": "the hosts' disk is nearly full",
            "Namespace": _HOSTS, "MetricName": "DiskUtilization", "Statistic": "Maximum",
            "Period": 300, "EvaluationPeriods": 1, "Threshold": 85, "ComparisonOperator": _ABOVE,
        },
    }  # fmt: skip
    if settings.endpoint.kind == "serverless":
        del alarms["disk"], alarms["idle"]  # no hosts, and no costs without requests
    elif settings.endpoint.scale_to_zero:
        del alarms["idle"]
    return alarms


def rollback_names(settings: CloudSettings, name: str) -> list[str]:
    """Return the alarms that tell a bad version of an endpoint; none where none are made."""
    return [f"{name}-5xx", f"{name}-latency"] if settings.endpoint.monitoring else []


def ensure(cloud: Cloud, name: str) -> None:
    """Make or renew the alarms and the dashboard of an endpoint.

    Args:
        cloud: Where; ``endpoint.alarm_topic`` is told when an alarm goes off.
        name: The endpoint's name.
    """
    settings = cloud.settings
    client = cloud.client("cloudwatch")
    topic = [settings.endpoint.alarm_topic] if settings.endpoint.alarm_topic else []
    for suffix, alarm in _alarms(settings).items():
        client.put_metric_alarm(
            **{"TreatMissingData": "notBreaching"} | alarm,
            AlarmName=f"{name}-{suffix}",
            Dimensions=[
                {"Name": "EndpointName", "Value": name},
                {"Name": "VariantName", "Value": MAIN},
            ],
            AlarmActions=topic,
            Tags=naming.tags(settings),
        )
    client.put_dashboard(DashboardName=name, DashboardBody=json.dumps(_dashboard(cloud, name)))


def _dashboard(cloud: Cloud, name: str) -> dict[str, Any]:
    variant = ["EndpointName", name, "VariantName", MAIN]
    charts: dict[str, list[Any]] = {
        "Requests and errors": [
            [_SERVICE, metric, *variant, {"stat": "Sum"}]
            for metric in ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")
        ],
        "Model latency, microseconds": [
            [_SERVICE, "ModelLatency", *variant, {"stat": stat}] for stat in ("p50", "p95", "p99")
        ],
        "Hosts, percent": [
            [_HOSTS, f"{metric}Utilization", *variant, {"stat": "Average"}]
            for metric in ("CPU", "Memory", "Disk", "GPU", "GPUMemory")
        ],
    }
    widgets = [
        {
            "type": "metric", "x": 0, "y": 6 * row, "width": 24, "height": 6,
            "properties": {"title": title, "region": cloud.region, "period": 60, "metrics": lines},
        }
        for row, (title, lines) in enumerate(charts.items())
    ]  # fmt: skip
    return {"widgets": widgets}


def remove(cloud: Cloud, name: str) -> None:
    """Remove the alarms and the dashboard of an endpoint, if there are any."""
    client = cloud.client("cloudwatch")
    client.delete_alarms(AlarmNames=[f"{name}-{suffix}" for suffix in _SUFFIXES])
    if client.list_dashboards(DashboardNamePrefix=name).get("DashboardEntries"):
        client.delete_dashboards(DashboardNames=[name])
