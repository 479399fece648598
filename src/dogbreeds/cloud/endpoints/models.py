"""Artifacts as SageMaker models, and as versions in its model registry with their metrics."""

import json
import re
from typing import Any

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud, CloudError, error_code, every, get_if_exists, given
from dogbreeds.cloud.images.uri import job_image
from dogbreeds.cloud.jobs.training import final_metrics

_CONTENT_TYPES = ["image/jpeg", "image/png", "application/json"]


def artifact_of(cloud: Cloud, source: str) -> str:
    """Return the S3 address of a model artifact.

    `source` is its address, the name of a training or tuning job (of which the best training job
    counts; see `naming.own_name`), or the ARN of an approved model package. CloudError if it does
    not exist, or has no artifact (yet).
    """
    if source.startswith("s3://"):
        if not source.endswith(".tar.gz"):
            raise CloudError(f"expected the address of a model.tar.gz, got {source}")
        return source
    if cloud.offline:
        raise CloudError(
            f"{source} cannot be looked up ({cloud.offline}): give the artifact's s3:// address"
        )
    if ":model-package/" in source:
        package = cloud.sagemaker.describe_model_package(ModelPackageName=source)
        if (status := package["ModelApprovalStatus"]) != "Approved":
            hint = "approve it first (dogbreeds register --approve)"
            raise CloudError(f"{source} is {status}: {hint}")
        return str(package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"])
    source = naming.own_name(cloud.settings, source)
    client = cloud.sagemaker
    if job := get_if_exists(client.describe_training_job, TrainingJobName=source):
        artifacts, status = job.get("ModelArtifacts", {}), job["TrainingJobStatus"]
        if status not in ("Completed", "Stopped") or "S3ModelArtifacts" not in artifacts:
            raise CloudError(f"training job {source} is {status} and has no artifact")
        return str(artifacts["S3ModelArtifacts"])
    describe = client.describe_hyper_parameter_tuning_job
    if (search := get_if_exists(describe, HyperParameterTuningJobName=source)) is None:
        raise CloudError(
            f"no training or tuning job {source}: expected one, s3://.../model.tar.gz, or"
            " a model package's ARN (dogbreeds list shows the jobs)"
        )
    if not (best := search.get("BestTrainingJob", {}).get("TrainingJobName")):
        raise CloudError(f"tuning job {source} has no best training job yet")
    return artifact_of(cloud, best)


def ensure_model(cloud: Cloud, source: str) -> str:
    """Return the name of a SageMaker model, which is created unless an equal one exists.

    `source` is as in `artifact_of`; for a multi-model endpoint the ``s3://`` folder of artifacts.
    CloudError as there, ConfigError if settings are missing or there is no image.
    """
    settings = cloud.settings
    settings.require("aws.role")
    image, role = job_image(cloud, "serving"), settings.aws.endpoint_role or settings.aws.role
    several = settings.endpoint.kind == "multi-model"
    if several and not re.fullmatch("s3://.*/", source):
        raise CloudError(
            f"expected the folder of a multi-model endpoint's artifacts, s3://.../, got {source}"
        )
    artifact = source if several else artifact_of(cloud, source)
    environment = dict(settings.endpoint.environment)
    made_of = [image, artifact, environment, settings.network, role]
    name = f"{settings.project}-model-{naming.fingerprint(made_of)}"
    if get_if_exists(cloud.sagemaker.describe_model, ModelName=name):
        cloud.kept.append(f"model {name}")
        return name
    network = settings.network
    container = {"Image": image, "ModelDataUrl": artifact, "Environment": environment}
    vpc = {"Subnets": list(network.subnets), "SecurityGroupIds": list(network.security_groups)}
    cloud.sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=role,
        PrimaryContainer=container | ({"Mode": "MultiModel"} if several else {}),
        Tags=naming.tags(settings),
        **given(VpcConfig=vpc if network.subnets else {}, EnableNetworkIsolation=network.isolation),
    )
    return name


def register(cloud: Cloud, source: str, *, approve: bool = False) -> str:
    """Create a version in the project's model package group, and return its ARN.

    An artifact and image have one version: registered again, it is found. `source` is as in
    `artifact_of`; a job's metrics are stored with it. A version can be deployed by its ARN
    once it is approved, by `approve` or a person. ConfigError or CloudError if anything is missing.
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
    job = None
    if not source.startswith(("s3://", "arn:")):
        own_name = naming.own_name(settings, source)
        job = get_if_exists(client.describe_training_job, TrainingJobName=own_name)  # or tuning
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
        **_described(cloud, artifact, final_metrics(job or {})),
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


def _described(cloud: Cloud, artifact: str, metrics: dict[str, float]) -> dict[str, Any]:
    """Store a version's metrics, if any, as the registry's pages read them; return its options."""
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
