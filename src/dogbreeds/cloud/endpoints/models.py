"""SageMaker models: an artifact and the serving image, under a name made of both."""

import re

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud, CloudError, get_if_exists, given
from dogbreeds.cloud.images.uri import job_image


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
