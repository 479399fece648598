"""The model registry: artifacts as versions of a model package group, with their metrics."""

import json
from typing import Any

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud, CloudError, error_code
from dogbreeds.cloud.endpoints.models import archive_of
from dogbreeds.cloud.images.uri import job_image

_CONTENT_TYPES = ["image/jpeg", "image/png", "application/json"]


def register(cloud: Cloud, source: str, *, approve: bool = False) -> str:
    """Create a version in the project's model package group.

    Args:
        cloud: The account, region and settings.
        source: The model, as in `models.archive_of`; a job's metrics are stored with it.
        approve: Approve it at once; otherwise a person must, before it can be deployed by ARN.

    Returns:
        The version's ARN. An artifact and image have one version: registered again, it is found,
        and approved if requested.

    Raises:
        ConfigError, CloudError: Something is missing.
        botocore.exceptions.ClientError: AWS refused.
    """
    settings = cloud.settings
    settings.require("aws.bucket")
    client = cloud.sagemaker
    archive, image = archive_of(cloud, source), job_image(cloud, "serving")
    group = f"{settings.project}-models"
    status = "Approved" if approve else "PendingManualApproval"
    if arn := _registered(cloud, group, archive, image):
        cloud.say(f"{archive} is registered already")
        if approve:
            client.update_model_package(ModelPackageArn=arn, ModelApprovalStatus=status)
        return arn
    metrics = _metrics(cloud, source)
    version = client.create_model_package(
        ModelPackageGroupName=_ensure_group(cloud, group),
        ModelPackageDescription=f"{source}",
        ModelApprovalStatus=status,
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": archive}],
            "SupportedContentTypes": _CONTENT_TYPES,
            "SupportedResponseMIMETypes": ["application/json"],
            "SupportedRealtimeInferenceInstanceTypes": [settings.endpoint.instance_type],
            "SupportedTransformInstanceTypes": [settings.transform.instance_type],
        },
        **_described(cloud, archive, metrics),
    )
    return str(version.get("ModelPackageArn", ""))


def _ensure_group(cloud: Cloud, group: str) -> str:
    try:
        cloud.sagemaker.create_model_package_group(
            ModelPackageGroupName=group, Tags=naming.tags(cloud.settings)
        )
    except cloud.sagemaker.exceptions.ClientError as error:
        if error_code(error) != "ValidationException" or "already exists" not in str(error):
            raise
    return group


def _registered(cloud: Cloud, group: str, archive: str, image: str) -> str | None:
    pages = cloud.sagemaker.get_paginator("list_model_packages")
    try:
        arns = [
            package["ModelPackageArn"]
            for page in pages.paginate(ModelPackageGroupName=group)
            for package in page.get("ModelPackageSummaryList", [])
        ]
    except cloud.sagemaker.exceptions.ClientError as error:
        if error_code(error) in ("ValidationException", "ResourceNotFound"):  # no such group
            return None
        raise
    for arn in arns:
        package = cloud.sagemaker.describe_model_package(ModelPackageName=arn)
        for container in package.get("InferenceSpecification", {}).get("Containers", []):
            if (container["Image"], container.get("ModelDataUrl")) == (image, archive):
                return str(arn)
    return None


def _metrics(cloud: Cloud, source: str) -> dict[str, float]:
    """Return the final metrics of a training job; empty for an artifact's address."""
    if source.startswith(("s3://", "arn:")) or cloud.offline:
        return {}
    name = naming.own_name(cloud.settings, source)
    try:
        job = cloud.sagemaker.describe_training_job(TrainingJobName=name)
    except cloud.sagemaker.exceptions.ClientError:  # a tuning job
        return {}
    return {m["MetricName"]: float(m["Value"]) for m in job.get("FinalMetricDataList", [])}


def _described(cloud: Cloud, archive: str, metrics: dict[str, float]) -> dict[str, Any]:
    """Return a version's metrics as options of the registry, which refuses empty ones."""
    if not metrics:
        return {}
    return {
        "ModelMetrics": _put_metrics(cloud, archive, metrics),
        "CustomerMetadataProperties": {name: f"{value:.6g}" for name, value in metrics.items()},
    }


def _put_metrics(cloud: Cloud, archive: str, metrics: dict[str, float]) -> dict[str, Any]:
    """Write the metrics in the format of the registry's pages; return where."""
    aws = cloud.settings.aws
    values = {name: {"value": v, "standard_deviation": "NaN"} for name, v in metrics.items()}
    document = {"multiclass_classification_metrics": values}
    key = f"{aws.prefix}/registry/{naming.fingerprint([archive, metrics])}.json"
    try:
        cloud.client("s3").put_object(
            Bucket=aws.bucket, Key=key, Body=json.dumps(document), ContentType="application/json"
        )
    except cloud.client("s3").exceptions.NoSuchBucket as error:
        raise CloudError(f"aws.bucket: there is no bucket {aws.bucket}") from error
    statistics = {"ContentType": "application/json", "S3Uri": f"s3://{aws.bucket}/{key}"}
    return {"ModelQuality": {"Statistics": statistics}}
