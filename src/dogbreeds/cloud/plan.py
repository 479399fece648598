"""The plan of a dry run for people: what is created, updated or kept, and the costs."""

import re
from collections.abc import Iterator
from typing import Any

from dogbreeds.cloud import prices
from dogbreeds.cloud.aws import Cloud
from dogbreeds.cloud.settings import CloudSettings

_SIGNS = {"Update": "~", "Deregister": "-", "Delete": "-"}
_NAMES = ("AlarmName", "DashboardName", "ModelPackageGroupName", "ResourceId", "Key")


def text(cloud: Cloud) -> str:
    """Return the plan of a dry run, as lines."""
    lines = [f"  = {kept}: exists already, stays as it is" for kept in cloud.kept]
    for request in cloud.requests:
        for operation, content in request.items():
            lines.append(f"  {_change(operation, content)}")
            lines += [f"      {detail}" for detail in _details(cloud.settings, operation, content)]
    if cloud.offline:
        lines.append(f"Not looked up: what exists already ({cloud.offline}).")
    return "\n".join(["Plan (nothing was sent):", *lines])


def _change(operation: str, content: dict[str, Any]) -> str:
    verb, *words = re.findall(r"[A-Z]+[a-z]*", operation)
    keys = (f"{''.join(words)}Name", *_NAMES)
    name = next((content[key] for key in keys if key in content), "")
    return f"{_SIGNS.get(verb, '+')} {' '.join(words).lower()} {name}".rstrip()


def _details(settings: CloudSettings, operation: str, content: dict[str, Any]) -> Iterator[str]:
    """Yield the details of a change: the hosts and their price, and the steps of an update."""
    if operation == "CreateTrainingJob":
        yield _job(settings, content, 1)
    elif operation == "CreateHyperParameterTuningJob":
        limits = content["HyperParameterTuningJobConfig"]["ResourceLimits"]
        yield _job(settings, content["TrainingJobDefinition"], limits["MaxNumberOfTrainingJobs"])
    elif operation == "CreateTransformJob":
        yield _hosts(settings, content["TransformResources"])
    for key in ("ProductionVariants", "ShadowProductionVariants"):
        for variant in content.get(key, []):
            yield f"{variant['VariantName']}: {_hosts(settings, variant)}"
    deployment = content.get("DeploymentConfig", {})
    if policy := deployment.get("BlueGreenUpdatePolicy"):
        kind = policy["TrafficRoutingConfiguration"]["Type"].lower().replace("_", "-")
        seconds = policy["TerminationWaitInSeconds"]
        yield f"traffic moves {kind}; the old version is removed after {seconds} s"
    if policy := deployment.get("RollingUpdatePolicy"):
        yield f"hosts are replaced in steps of {policy['MaximumBatchSize']['Value']} %"
    if alarms := deployment.get("AutoRollbackConfiguration", {}).get("Alarms"):
        yield f"rolled back on {', '.join(alarm['AlarmName'] for alarm in alarms)}"


def _hosts(settings: CloudSettings, hosts: dict[str, Any]) -> str:
    if "ServerlessConfig" in hosts:
        return f"serverless, {hosts['ServerlessConfig']['MemorySizeInMB']} MB: billed by use"
    kind = hosts["InstanceType"]
    count = hosts.get("InstanceCount") or hosts.get("InitialInstanceCount", 1)
    return f"{count} x {kind}, {prices.in_words(settings, kind, count, 'per hour')}"


def _job(settings: CloudSettings, job: dict[str, Any], jobs: int) -> str:
    hosts, hours = job["ResourceConfig"], job["StoppingCondition"]["MaxRuntimeInSeconds"] / 3600
    kind, count = hosts["InstanceType"], hosts["InstanceCount"]
    cost = prices.in_words(settings, kind, jobs * count * hours, "at most")
    return f"{jobs} x {count} x {kind} for at most {hours:g} h, {cost}"
