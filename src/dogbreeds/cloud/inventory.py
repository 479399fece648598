"""Everything this project made in an account: listed, and taken away again.

A thing is ours if it has the project's tag. On SageMaker its name begins with the project's, too,
which is what is asked for first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud, error_code, is_missing
from dogbreeds.cloud.endpoints import deploy
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
    """

    kind: str
    name: str
    status: str
    created: datetime
    costs: bool = False

    @property
    def removable(self) -> bool:
        """Whether `delete` has anything to do: an ended job stays in the account's history."""
        return not self.kind.endswith("job") or self.status == "InProgress"


@dataclass(frozen=True)
class _Kind:
    """How a kind is listed and removed.

    Attributes:
        call: The listing call.
        items: The field with its items.
        noun: How the items' fields begin.
        remove: Removes (or stops) one by name.
        costs: Whether one with this status costs money.
    """

    call: str
    items: str
    noun: str
    remove: Callable[[Any, str], Any]
    costs: Callable[[str], bool] = lambda status: False


# In the order of removal: what runs first, then what it was made from.
_KINDS = {
    "endpoint": _Kind(
        "list_endpoints", "Endpoints", "Endpoint",
        lambda client, name: client.delete_endpoint(EndpointName=name),
        lambda status: status not in ("Failed", "OutOfService", "Deleting"),
    ),
    "endpoint-config": _Kind(
        "list_endpoint_configs", "EndpointConfigs", "EndpointConfig",
        lambda client, name: client.delete_endpoint_config(EndpointConfigName=name),
    ),
    "transform-job": _Kind(
        "list_transform_jobs", "TransformJobSummaries", "TransformJob",
        lambda client, name: client.stop_transform_job(TransformJobName=name),
        lambda status: status == "InProgress",
    ),
    "tuning-job": _Kind(
        "list_hyper_parameter_tuning_jobs", "HyperParameterTuningJobSummaries",
        "HyperParameterTuningJob",
        lambda client, name: client.stop_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name
        ),
        lambda status: status == "InProgress",
    ),
    "training-job": _Kind(
        "list_training_jobs", "TrainingJobSummaries", "TrainingJob",
        lambda client, name: client.stop_training_job(TrainingJobName=name),
        lambda status: status == "InProgress",
    ),
    "model": _Kind(
        "list_models", "Models", "Model",
        lambda client, name: client.delete_model(ModelName=name),
    ),
    "model-package-group": _Kind(
        "list_model_package_groups", "ModelPackageGroupSummaryList", "ModelPackageGroup",
        lambda client, name: _delete_group(client, name),
    ),
}  # fmt: skip

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
    kind = _KINDS[name]
    project = cloud.settings.project
    pages = cloud.sagemaker.get_paginator(kind.call).paginate(NameContains=project)
    tag = {"Key": naming.PROJECT_TAG, "Value": project}
    for page in pages:
        for item in page.get(kind.items, []):
            found = item[f"{kind.noun}Name"]
            if not found.startswith(project):
                continue
            tags = cloud.sagemaker.list_tags(ResourceArn=item[f"{kind.noun}Arn"]).get("Tags", [])
            if tag not in tags:
                continue
            status = item.get(f"{kind.noun}Status", "")
            yield Resource(name, found, status, item["CreationTime"], kind.costs(status))


def table(resources: Sequence[Resource]) -> str:
    """Return the resources as a table; what costs money is marked."""
    if not resources:
        return "Nothing of this project is here."
    return terminal.table(
        [
            (r.kind, r.name, r.status, iso_time(r.created), "costs money" if r.costs else "")
            for r in resources
        ]
    )


def iso_time(moment: datetime) -> str:
    """Return a time in UTC as ISO 8601 has it, e.g. ``2026-11-25T20:11:55+00:00``."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


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
        deploy.remove_scaling(cloud, resource.name)
    _KINDS[resource.kind].remove(cloud.sagemaker, resource.name)


def _delete_group(client: Any, name: str) -> None:  # noqa: ANN401
    """Delete a model package group with its versions, which must go first."""
    pages = client.get_paginator("list_model_packages").paginate(ModelPackageGroupName=name)
    arns = [
        package["ModelPackageArn"]
        for page in pages
        for package in page.get("ModelPackageSummaryList", [])
    ]
    for arn in arns:
        client.delete_model_package(ModelPackageName=arn)
    client.delete_model_package_group(ModelPackageGroupName=name)
