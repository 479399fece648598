"""SageMaker models: an artifact and the serving image, under a name made of both."""

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud, CloudError, get_if_exists
from dogbreeds.cloud.images.uri import job_image


def archive_of(cloud: Cloud, source: str) -> str:
    """Return the S3 address of a model artifact.

    Args:
        cloud: The account and region.
        source: Its address, the name of a training or tuning job (of which the best training job
            counts; see `naming.own_name`), or the ARN of an approved model package.

    Raises:
        CloudError: The source does not exist, or it has no artifact (yet).
    """
    if source.startswith("s3://"):
        if not source.endswith(".tar.gz"):
            raise CloudError(f"expected the address of a model.tar.gz, got {source}")
        return source
    if cloud.offline:
        raise CloudError(
            f"{source} cannot be looked up ({cloud.offline}): give the archive's s3:// address"
        )
    if ":model-package/" in source:
        package = cloud.sagemaker.describe_model_package(ModelPackageName=source)
        if package["ModelApprovalStatus"] != "Approved":
            raise CloudError(
                f"{source} is {package['ModelApprovalStatus']}: approve it first"
                " (dogbreeds register --approve)"
            )
        return str(package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"])
    source = naming.own_name(cloud.settings, source)
    job = get_if_exists(cloud.sagemaker.describe_training_job, TrainingJobName=source)
    if job is None:
        return _best_archive(cloud, source)
    artifacts = job.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    if job["TrainingJobStatus"] not in ("Completed", "Stopped") or not artifacts:
        raise CloudError(f"training job {source} is {job['TrainingJobStatus']} and has no archive")
    return str(artifacts)


def _best_archive(cloud: Cloud, tuning_job: str) -> str:
    describe = cloud.sagemaker.describe_hyper_parameter_tuning_job
    job = get_if_exists(describe, HyperParameterTuningJobName=tuning_job)
    if job is None:
        raise CloudError(
            f"no training or tuning job {tuning_job}: expected one, s3://.../model.tar.gz, or"
            " a model package's ARN (dogbreeds list shows the jobs)"
        )
    best = job.get("BestTrainingJob", {}).get("TrainingJobName")
    if not best:
        raise CloudError(f"tuning job {tuning_job} has no best training job yet")
    return archive_of(cloud, best)


def ensure_model(cloud: Cloud, source: str) -> str:
    """Return the name of a SageMaker model, which is created unless an equal one exists.

    Args:
        cloud: The account, region and settings.
        source: As in `archive_of`; for a multi-model endpoint the ``s3://`` folder of artifacts.

    Raises:
        CloudError: As for `archive_of`.
        ConfigError: Settings are missing, or there is no image.
    """
    settings = cloud.settings
    settings.require("aws.role")
    image, role = job_image(cloud, "serving"), settings.aws.endpoint_role or settings.aws.role
    several = settings.endpoint.kind == "multi-model"
    archive = _folder(source) if several else archive_of(cloud, source)
    environment = dict(settings.endpoint.environment)
    made_of = [image, archive, environment, settings.network, role]
    name = f"{settings.project}-model-{naming.fingerprint(made_of)}"
    if get_if_exists(cloud.sagemaker.describe_model, ModelName=name):
        cloud.keep("model", name)
        return name
    network = settings.network
    container = {"Image": image, "ModelDataUrl": archive, "Environment": environment}
    vpc = {"Subnets": list(network.subnets), "SecurityGroupIds": list(network.security_groups)}
    cloud.sdk.create_model(
        name,
        role,
        container | ({"Mode": "MultiModel"} if several else {}),
        vpc_config=vpc if network.subnets else None,
        enable_network_isolation=network.isolation,
        tags=naming.tags(settings),
    )
    return name


def _folder(source: str) -> str:
    if not source.startswith("s3://") or not source.endswith("/"):
        raise CloudError(
            f"expected the folder of a multi-model endpoint's archives, s3://.../, got {source}"
        )
    return source
