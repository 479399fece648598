"""The model registry: artifacts as versions of a model package group, with their metrics."""

import json
from typing import Any

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud, CloudError, error_code, every, get_if_exists
from dogbreeds.cloud.endpoints.models import artifact_of
from dogbreeds.cloud.images.uri import job_image
from dogbreeds.cloud.jobs.training import final_metrics

_CONTENT_TYPES = ["image/jpeg", "image/png", "application/json"]


def register(cloud: Cloud, source: str, *, approve: bool = False) -> str:
    """Create a version in the project's model package group, and return its ARN.

    An artifact and image have one version: registered again, it is found. `source` is as in
    `models.artifact_of`; a job's metrics are stored with it. A version can be deployed by its ARN
    once it is approved, by `approve` or by a person. ConfigError or CloudError if something is
    missing.
    """
    settings = cloud.settings
    settings.require("aws.bucket")
    client = cloud.sagemaker
    artifact, image = artifact_of(cloud, source), job_image(cloud, "serving")
    group = f"{settings.project}-models"
    status = "Approved" if approve else "PendingManualApproval"
    if arn := _registered(cloud, group, artifact, image):
        cloud.say(f"{artifact} is registered already")
        if approve:
            client.update_model_package(ModelPackageArn=arn, ModelApprovalStatus=status)
        return arn
    metrics = _metrics(cloud, source)
    in_group = {"ModelPackageGroupName": group}
    if get_if_exists(client.describe_model_package_group, **in_group) is None:
        client.create_model_package_group(**in_group, Tags=naming.tags(settings))
    version = client.create_model_package(
        **in_group,
        ModelPackageDescription=source,
        ModelApprovalStatus=status,
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": artifact}],
            "SupportedContentTypes": _CONTENT_TYPES,
            "SupportedResponseMIMETypes": ["application/json"],
            "SupportedRealtimeInferenceInstanceTypes": [settings.endpoint.instance_type],
            "SupportedTransformInstanceTypes": [settings.transform.instance_type],
        },
        **_described(cloud, artifact, metrics),
    )
    return str(version.get("ModelPackageArn", ""))


def versions(cloud: Cloud, group: str) -> list[str]:
    """Return the ARNs of a model package group's versions; none where there is no such group."""
    call, key = "list_model_packages", "ModelPackageSummaryList"
    try:
        found = list(every(cloud.sagemaker, call, key, ModelPackageGroupName=group))
    except cloud.sagemaker.exceptions.ClientError as error:
        if error_code(error) in ("ValidationException", "ResourceNotFound"):
            return []
        raise
    return [str(package["ModelPackageArn"]) for package in found]


def _registered(cloud: Cloud, group: str, artifact: str, image: str) -> str | None:
    for arn in versions(cloud, group):
        package = cloud.sagemaker.describe_model_package(ModelPackageName=arn)
        for container in package.get("InferenceSpecification", {}).get("Containers", []):
            if (container["Image"], container.get("ModelDataUrl")) == (image, artifact):
                return arn
    return None


def _metrics(cloud: Cloud, source: str) -> dict[str, float]:
    """Return the final metrics of a training job; empty for an artifact's address."""
    if source.startswith(("s3://", "arn:")) or cloud.offline:
        return {}
    name = naming.own_name(cloud.settings, source)
    job = get_if_exists(cloud.sagemaker.describe_training_job, TrainingJobName=name)  # or tuning
    return final_metrics(job or {})


def _described(cloud: Cloud, artifact: str, metrics: dict[str, float]) -> dict[str, Any]:
    """Write a version's metrics in the format of the registry's pages; return its options.

    The registry refuses empty ones.
    """
    if not metrics:
        return {}
    aws = cloud.settings.aws
    values = {name: {"value": v, "standard_deviation": "NaN"} for name, v in metrics.items()}
    body = json.dumps({"multiclass_classification_metrics": values})
    key = f"{aws.prefix}/registry/{naming.fingerprint([artifact, metrics])}.json"
    s3, kind = cloud.client("s3"), "application/json"
    try:
        s3.put_object(Bucket=aws.bucket, Key=key, Body=body, ContentType=kind)
    except s3.exceptions.NoSuchBucket as error:
        raise CloudError(f"aws.bucket: there is no bucket {aws.bucket}") from error
    statistics = {"ContentType": kind, "S3Uri": f"s3://{aws.bucket}/{key}"}
    return {
        "ModelMetrics": {"ModelQuality": {"Statistics": statistics}},
        "CustomerMetadataProperties": {name: f"{value:.6g}" for name, value in metrics.items()},
    }
