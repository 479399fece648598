"""Prices of instances per hour: the settings' own, else a list with its date."""

import functools
import tomllib
from pathlib import Path
from typing import Any

from dogbreeds.cloud.aws import Cloud
from dogbreeds.cloud.settings import CloudSettings


@functools.cache
def _shipped() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("prices.toml").read_text())


def per_hour(settings: CloudSettings, instance_type: str, count: float = 1) -> float | None:
    """Return the approximate USD per hour of instances, None for a type that is not listed."""
    price = settings.prices.get(instance_type, _shipped()["usd"].get(instance_type))
    return None if price is None else price * count


def in_words(settings: CloudSettings, instance_type: str, count: float, unit: str) -> str:
    """Return a cost with the source of its price, or that the price is not known."""
    price = per_hour(settings, instance_type, count)
    if price is None:
        return f"price of {instance_type} not known (give it in [prices])"
    own = instance_type in settings.prices
    source = "[prices]" if own else f"list price in us-east-1, {_shipped()['date']}"
    return f"{unit} about {price:.2f} USD ({source})"


def of_resource(cloud: Cloud, kind: str, name: str) -> float | None:
    """Return about how many USD an endpoint or job costs per hour; None if not known."""
    client = cloud.sagemaker
    hosts: list[dict[str, Any]] = []
    if kind == "endpoint":
        live = client.describe_endpoint(EndpointName=name)
        config = client.describe_endpoint_config(EndpointConfigName=live["EndpointConfigName"])
        for key in ("ProductionVariants", "ShadowProductionVariants"):
            running = {v["VariantName"]: v for v in live.get(key, [])}
            for variant in config.get(key, []):
                now = running.get(variant["VariantName"], {})  # no count while it is being created
                count = now.get("CurrentInstanceCount", variant.get("InitialInstanceCount", 1))
                hosts.append({**variant, "InstanceCount": count})
    elif kind == "training-job":
        hosts = [client.describe_training_job(TrainingJobName=name)["ResourceConfig"]]
    elif kind == "transform-job":
        hosts = [client.describe_transform_job(TransformJobName=name)["TransformResources"]]
    costs = [
        per_hour(cloud.settings, host.get("InstanceType", ""), host.get("InstanceCount", 1))
        for host in hosts
    ]
    return sum(costs) if costs and None not in costs else None  # type: ignore[arg-type]
