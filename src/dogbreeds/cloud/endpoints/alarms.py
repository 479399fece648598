"""Alarms and a dashboard per endpoint: created with it, named after it, removed with it."""

import json
from pathlib import Path
from typing import Any

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud
from dogbreeds.cloud.endpoints.config import MAIN
from dogbreeds.cloud.settings import CloudSettings

FILE = Path(__file__).with_suffix(".json")
_WAKE = "wake"  # made by scaling.py


def rollback_names(settings: CloudSettings, name: str) -> list[str]:
    """Return the alarms that indicate a bad version of an endpoint; empty without monitoring."""
    return [f"{name}-5xx", f"{name}-latency"] if settings.endpoint.monitoring else []


def _read(cloud: Cloud, name: str) -> dict[str, Any]:
    text = FILE.read_text().replace("NAME", name).replace("REGION", cloud.region)
    document: dict[str, Any] = json.loads(text)
    return document


def ensure(cloud: Cloud, name: str) -> None:
    """Create or update an endpoint's dashboard, and alarms that notify ``endpoint.alarm_topic``."""
    endpoint, client = cloud.settings.endpoint, cloud.client("cloudwatch")
    document = _read(cloud, name)
    alarms = document["alarms"]
    alarms["latency"]["Threshold"] = 1000 * endpoint.max_latency_ms
    if endpoint.kind == "serverless":
        del alarms["disk"]  # no hosts
    if endpoint.kind == "serverless" or endpoint.scale_to_zero:
        del alarms["idle"]  # no costs without requests
    for suffix, alarm in alarms.items():
        client.put_metric_alarm(
            **alarm,
            AlarmName=f"{name}-{suffix}",
            Dimensions=[
                {"Name": "EndpointName", "Value": name},
                {"Name": "VariantName", "Value": MAIN},
            ],
            AlarmActions=[endpoint.alarm_topic] if endpoint.alarm_topic else [],
            Tags=naming.tags(cloud.settings),
        )
    client.put_dashboard(DashboardName=name, DashboardBody=json.dumps(document["dashboard"]))


def remove(cloud: Cloud, name: str) -> None:
    """Remove the alarms and the dashboard of an endpoint, if there are any."""
    client = cloud.client("cloudwatch")
    suffixes = [*_read(cloud, name)["alarms"], _WAKE]
    client.delete_alarms(AlarmNames=[f"{name}-{suffix}" for suffix in suffixes])
    if client.list_dashboards(DashboardNamePrefix=name).get("DashboardEntries"):
        client.delete_dashboards(DashboardNames=[name])
