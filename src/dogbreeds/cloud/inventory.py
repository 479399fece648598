"""Everything this project created in an account: listing and removal.

A resource is ours if it has the project's tag. On SageMaker its name also begins with the
project's, which narrows the search.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from dogbreeds.cloud import naming, prices
from dogbreeds.cloud.aws import Cloud, error_code, is_missing
from dogbreeds.cloud.endpoints import alarms, scaling
from dogbreeds.system import terminal


@dataclass(frozen=True)
class Resource:
    """A resource on AWS.

    Attributes:
        kind: Such as ``endpoint``.
        name: Its name.
        status: Its status; empty where it has none.
        created: The time of its creation.
        costs: Whether it costs money while it exists.
        usd_per_hour: Approximate cost; None if unknown.
    """

    kind: str
    name: str
    status: str
    created: datetime
    costs: bool = False
    usd_per_hour: float | None = None

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

_REPOSITORY = "image-repository"


def find(cloud: Cloud) -> list[Resource]:
    """Return all resources of this project, in the order of removal."""
    found = [resource for kind in _KINDS for resource in _list(cloud, kind)]
    return found + list(_list_repositories(cloud))


def _list_repositories(cloud: Cloud) -> Iterator[Resource]:
    client = cloud.client("ecr")
    for page in client.get_paginator("describe_repositories").paginate():
        for item in page["repositories"]:
            tags = client.list_tags_for_resource(resourceArn=item["repositoryArn"])["tags"]
            if naming.is_ours(cloud.settings, tags):
                yield Resource(_REPOSITORY, item["repositoryName"], "", item["createdAt"], True)


def _list(cloud: Cloud, name: str) -> Iterator[Resource]:
    noun, items, _ = _KINDS[name]
    project = cloud.settings.project
    pages = cloud.sagemaker.get_paginator(f"list_{naming.snake_case(noun)}s")
    for page in pages.paginate(NameContains=project):
        for item in page.get(items, []):
            found = item[f"{noun}Name"]
            if not found.startswith(project):
                continue
            tags = cloud.sagemaker.list_tags(ResourceArn=item[f"{noun}Arn"]).get("Tags", [])
            if not naming.is_ours(cloud.settings, tags):
                continue
            status = item.get(f"{noun}Status", "")
            costs = status not in _COSTLESS
            price = prices.of_resource(cloud, name, found) if costs else None
            yield Resource(name, found, status, item["CreationTime"], costs, price)


def table(resources: Sequence[Resource]) -> str:
    """Return the resources as a table, with their costs."""
    if not resources:
        return "Nothing of this project is here."
    rows = [(r.kind, r.name, r.status, _age(r.created), _costs(r)) for r in resources]
    return terminal.table(rows)


def _age(created: datetime) -> str:
    hours = (datetime.now(UTC) - created).total_seconds() / 3600
    return f"{hours / 24:.0f} d" if hours >= 48 else f"{hours:.1f} h"


def _costs(resource: Resource) -> str:
    if resource.usd_per_hour is not None:
        return f"about {resource.usd_per_hour:.2f} USD per hour"
    return "costs money" if resource.costs else ""


def delete(cloud: Cloud, resources: Sequence[Resource]) -> list[str]:
    """Remove resources as `find` returns them, and stop running jobs; missing ones are skipped.

    Returns:
        One line per resource that could not be removed, with the reason.
    """
    failures = []
    order = [*_KINDS, _REPOSITORY]
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
    if resource.kind == _REPOSITORY:
        cloud.client("ecr").delete_repository(repositoryName=resource.name, force=True)
        return
    if resource.kind == "endpoint":
        scaling.remove(cloud, resource.name)
        alarms.remove(cloud, resource.name)
    if resource.kind == "model-package-group":
        _delete_versions(cloud.sagemaker, resource.name)
    noun, _, verb = _KINDS[resource.kind]
    call = getattr(cloud.sagemaker, f"{verb}_{naming.snake_case(noun)}")
    call(**{f"{noun}Name": resource.name})


def _delete_versions(client: Any, name: str) -> None:  # noqa: ANN401
    """Delete the versions of a model package group: only an empty group can be deleted."""
    pages = client.get_paginator("list_model_packages").paginate(ModelPackageGroupName=name)
    arns = [
        package["ModelPackageArn"]
        for page in pages
        for package in page.get("ModelPackageSummaryList", [])
    ]
    for arn in arns:
        client.delete_model_package(ModelPackageName=arn)
