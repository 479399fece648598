"""Batch transform: predictions for all photos of an S3 folder, without an endpoint."""

from typing import Any

from dogbreeds.cloud import drivers, naming
from dogbreeds.cloud.aws import Cloud, CloudError
from dogbreeds.cloud.endpoints.models import ensure_model
from dogbreeds.cloud.images.uri import cuda_of_image
from dogbreeds.cloud.jobs import describe as jobs
from dogbreeds.cloud.jobs import follow
from dogbreeds.cloud.settings import ConfigError


def start(
    cloud: Cloud,
    source: str,
    photos: str,
    *,
    content_type: str = "image/jpeg",
    name: str | None = None,
    new: bool = False,
) -> str:
    """Start a batch transform job, or find the one that the same command started before.

    Args:
        cloud: The account, region and settings.
        source: The model, as in `models.archive_of`.
        photos: ``s3://BUCKET/PREFIX`` of photos of one type; one answer is written per photo.
        content_type: Their type.
        name: The job's name; a job of this name is not started again.
        new: Start another job even if the same one is running.

    Returns:
        The job's name.

    Raises:
        ConfigError, CloudError: Something is missing or invalid.
    """
    settings = cloud.settings
    batch = settings.transform
    settings.require("aws.role", "aws.bucket")
    if not photos.startswith("s3://"):
        raise ConfigError(f"expected photos at s3://BUCKET/PREFIX, got {photos}")
    if batch.concurrency * batch.max_payload_mb > 100:
        raise ConfigError(
            "transform.concurrency x transform.max_payload_mb: expected at most 100, got"
            f" {batch.concurrency} x {batch.max_payload_mb}"
        )
    model = ensure_model(cloud, source)
    prefix = naming.job_prefix(settings, "batch", [model, photos, content_type, batch])
    name = name and naming.own_name(settings, name)
    chosen = name or naming.job_name(prefix)
    key = {"KmsKeyId": settings.aws.kms_key} if settings.aws.kms_key else {}
    resources: dict[str, Any] = {
        "InstanceType": batch.instance_type,
        "InstanceCount": batch.instance_count,
    }
    # The SDK's Transformer has no option for the AMI.
    if ami := drivers.batch_ami(batch.instance_type, cuda_of_image(cloud, "serving")):
        resources["TransformAmiVersion"] = ami
    if settings.aws.kms_key and not drivers.has_local_disk(batch.instance_type):
        resources["VolumeKmsKeyId"] = settings.aws.kms_key
    request = {
        "TransformJobName": chosen,
        "ModelName": model,
        "BatchStrategy": "SingleRecord",
        "MaxConcurrentTransforms": batch.concurrency,
        "MaxPayloadInMB": batch.max_payload_mb,
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": photos}},
            "ContentType": content_type,
            "SplitType": "None",
        },
        "TransformOutput": {
            "S3OutputPath": f"s3://{settings.aws.bucket}/{settings.aws.prefix}/batch/{chosen}",
            "Accept": "application/json",
            "AssembleWith": "None",
            **key,
        },
        "TransformResources": resources,
        "Tags": naming.tags(settings),
    }

    def submit() -> None:
        cloud.sagemaker.create_transform_job(**request)

    if running := jobs.find(cloud, "TransformJob", prefix, name, new=new, submit=submit):
        return running
    cloud.say(f"Starting transform job {chosen} on {batch.instance_type}")
    submit()
    return chosen


def wait(cloud: Cloud, name: str) -> str:
    """Follow a transform job's log to its end.

    Returns:
        The S3 folder of the answers: one file ``PHOTO.out`` per photo.

    Raises:
        CloudError: The job failed or was stopped.
    """
    description = follow.follow(cloud, "TransformJob", name, log=True)
    if description["TransformJobStatus"] != "Completed":
        reason = description.get("FailureReason", "no reason given")
        raise CloudError(f"transform job {name} {description['TransformJobStatus']}: {reason}")
    return str(description["TransformOutput"]["S3OutputPath"])
