"""Everything this project made in an account: listed, and taken away again.

A thing is ours if it has the project's tag. On SageMaker its name begins with the project's, too,
which is what is asked for first.
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
    """Something that was made.

    Attributes:
        kind: Such as ``endpoint``.
        name: Its name.
        status: Its status; empty where there is none.
        created: When.
        costs: Whether it costs money as long as it is there.
        usd_per_hour: About how much, None where that is not known.
    """

    kind: str
    name: str
    status: str
    created: datetime
    costs: bool = False
    usd_per_hour: float | None = None

    @property
    def removable(self) -> bool:
        """Whether `delete` has anything to do: an ended job stays in the account's history."""
        return not self.kind.endswith("job") or self.status == "InProgress"


# In the order of removal: what runs first, then what it was made from. For each kind how its calls
# and fields are named, where its list is, and what removes it.
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
    """Return everything of this project, what runs first."""
    found = [resource for kind in _KINDS for resource in _list(cloud, kind)]
    return found + list(_list_repositories(cloud))


def _list_repositories(cloud: Cloud) -> Iterator[Resource]:
    client = cloud.client("ecr")
    tag = {"Key": naming.PROJECT_TAG, "Value": cloud.settings.project}
    for page in client.get_paginator("describe_repositories").paginate():
        for item in page["repositories"]:
            tags = client.list_tags_for_resource(resourceArn=item["repositoryArn"])["tags"]
            if tag in tags:
                yield Resource(_REPOSITORY, item["repositoryName"], "", item["createdAt"], True)


def _list(cloud: Cloud, name: str) -> Iterator[Resource]:
    noun, items, _ = _KINDS[name]
    project = cloud.settings.project
    call = f"list_{naming.snake_case(noun)}s"
    pages = cloud.sagemaker.get_paginator(call).paginate(NameContains=project)
    tag = {"Key": naming.PROJECT_TAG, "Value": project}
    for page in pages:
        for item in page.get(items, []):
            found = item[f"{noun}Name"]
            if not found.startswith(project):
                continue
            tags = cloud.sagemaker.list_tags(ResourceArn=item[f"{noun}Arn"]).get("Tags", [])
            if tag not in tags:
                continue
            status = item.get(f"{noun}Status", "")
            costs = status not in _COSTLESS
            price = prices.of_resource(cloud, name, found) if costs else None
            yield Resource(name, found, status, item["CreationTime"], costs, price)


def table(resources: Sequence[Resource]) -> str:
    """Return the resources as a table; what costs money is marked."""
    if not resources:
        return "Nothing of this project is here."
    return terminal.table(
        [(r.kind, r.name, r.status, _age(r.created), _costs(r)) for r in resources]
    )


def _age(created: datetime) -> str:
    hours = (datetime.now(UTC) - created).total_seconds() / 3600
    return f"{hours / 24:.0f} d" if hours >= 48 else f"{hours:.1f} h"


def _costs(resource: Resource) -> str:
    if resource.usd_per_hour is not None:
        return f"about {resource.usd_per_hour:.2f} USD per hour"
    return "costs money" if resource.costs else ""


def delete(cloud: Cloud, resources: Sequence[Resource]) -> list[str]:
    """Remove resources; running jobs are stopped. What is gone already is no error.

    Args:
        cloud: Where.
        resources: As `find` returns them.

    Returns:
        What could not be removed, and why, a line each.
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
    """Delete the versions of a model package group, which must go before it."""
    pages = client.get_paginator("list_model_packages").paginate(ModelPackageGroupName=name)
    arns = [
        package["ModelPackageArn"]
        for page in pages
        for package in page.get("ModelPackageSummaryList", [])
    ]
    for arn in arns:
        client.delete_model_package(ModelPackageName=arn)
