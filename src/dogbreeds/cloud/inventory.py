"""Everything this project created in an account: listing and removal.

A resource is ours if it has the project's tag. On SageMaker its name also begins with the
project's, which narrows the search.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from botocore import xform_name
from botocore.exceptions import ClientError

from dogbreeds.cloud import naming, prices
from dogbreeds.cloud.aws import Cloud, error_code, every, is_missing
from dogbreeds.cloud.endpoints import models, operations
from dogbreeds.system import terminal


@dataclass(frozen=True)
class Resource:
    """A resource on AWS."""

    kind: str  # such as ``endpoint``
    name: str
    status: str  # empty where it has none
    created: datetime
    costs: bool = False  # whether it costs money while it exists
    usd_per_hour: float | None = None  # approximately, if known

    @property
    def removable(self) -> bool:
        """Whether `delete` applies: an ended job stays in the account's history."""
        return not self.kind.endswith("job") or self.status == "InProgress"


# In the order of removal: users before what they use. Per kind: the noun in the names of its calls
# and fields, the field of its list, and the verb that removes it.
_KINDS = {
    "endpoint": ("Endpoint", "Endpoints", "delete"),
    "endpoint-config": ("EndpointConfig", "EndpointConfigs", "delete"),
    "transform-job": ("TransformJob", "TransformJobSummaries", "stop"),
    "tuning-job": ("HyperParameterTuningJob", "HyperParameterTuningJobSummaries", "stop"),
    "training-job": ("TrainingJob", "TrainingJobSummaries", "stop"),
    "model": ("Model", "Models", "delete"),
    "model-package-group": ("ModelPackageGroup", "ModelPackageGroupSummaryList", "delete"),
}
_COSTLESS = ("", "Failed", "OutOfService", "Deleting", "Completed", "Stopped")
_ALARM, _REPOSITORY = "alarm", "image-repository"


def find(cloud: Cloud) -> list[Resource]:
    """Return all resources of this project, in the order of removal."""
    found = [resource for kind in _KINDS for resource in _list(cloud, kind)]
    return [*found, *_list_alarms(cloud), *_list_repositories(cloud)]


def _list(cloud: Cloud, kind: str) -> Iterator[Resource]:
    noun, items, _ = _KINDS[kind]
    client, project = cloud.sagemaker, cloud.settings.project
    for item in every(client, f"list_{xform_name(noun)}s", items, NameContains=project):
        name, status = item[f"{noun}Name"], item.get(f"{noun}Status", "")
        if name.startswith(project) and naming.is_ours(
            cloud.settings, client.list_tags(ResourceArn=item[f"{noun}Arn"]).get("Tags", [])
        ):
            costs = status not in _COSTLESS
            price = prices.of_resource(cloud, kind, name) if costs else None
            yield Resource(kind, name, status, item["CreationTime"], costs, price)


def _list_alarms(cloud: Cloud) -> Iterator[Resource]:
    client, project = cloud.client("cloudwatch"), cloud.settings.project
    for item in every(client, "describe_alarms", "MetricAlarms", AlarmNamePrefix=project):
        tags = client.list_tags_for_resource(ResourceARN=item["AlarmArn"]).get("Tags", [])
        if naming.is_ours(cloud.settings, tags):
            updated = item["AlarmConfigurationUpdatedTimestamp"]
            yield Resource(_ALARM, item["AlarmName"], item["StateValue"], updated, costs=True)


def _list_repositories(cloud: Cloud) -> Iterator[Resource]:
    client = cloud.client("ecr")
    for item in every(client, "describe_repositories", "repositories"):
        tags = client.list_tags_for_resource(resourceArn=item["repositoryArn"])["tags"]
        if naming.is_ours(cloud.settings, tags):
            yield Resource(_REPOSITORY, item["repositoryName"], "", item["createdAt"], costs=True)


def table(resources: Sequence[Resource]) -> str:
    """Return the resources as a table, with their costs."""
    if not resources:
        return "Nothing of this project is here."
    rows = []
    for r in resources:
        hours = (datetime.now(UTC) - r.created).total_seconds() / 3600
        age = f"{hours / 24:.0f} d" if hours >= 48 else f"{hours:.1f} h"
        costs = "costs money" if r.costs else ""
        if r.usd_per_hour is not None:
            costs = f"about {r.usd_per_hour:.2f} USD per hour"
        rows.append((r.kind, r.name, r.status, age, costs))
    return terminal.table(rows)


def delete(cloud: Cloud, resources: Sequence[Resource]) -> list[str]:
    """Remove resources that are there, stop jobs; return a line with the reason per failure."""
    failures = []
    order = [*_KINDS, _ALARM, _REPOSITORY]
    for resource in sorted(resources, key=lambda r: order.index(r.kind)):
        try:
            if resource.removable:
                _remove(cloud, resource)
        except ClientError as error:
            if not is_missing(error):
                reason = error.response["Error"].get("Message", "")
                failures.append(f"{resource.kind} {resource.name}: {error_code(error)}: {reason}")
    return failures


def _remove(cloud: Cloud, resource: Resource) -> None:
    kind, name = resource.kind, resource.name
    if kind == _REPOSITORY:
        cloud.client("ecr").delete_repository(repositoryName=name, force=True)
    elif kind == _ALARM:
        cloud.client("cloudwatch").delete_alarms(AlarmNames=[name])
    else:
        if kind == "endpoint":
            operations.remove(cloud, name)
        elif kind == "model-package-group":  # only an empty one can be deleted
            for arn in models.versions(cloud, name):
                cloud.sagemaker.delete_model_package(ModelPackageName=arn)
        noun, _, verb = _KINDS[kind]
        getattr(cloud.sagemaker, f"{verb}_{xform_name(noun)}")(**{f"{noun}Name": name})
