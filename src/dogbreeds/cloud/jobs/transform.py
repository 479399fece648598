"""Batch transform: predictions for all photos of an S3 folder, without an endpoint."""

from dogbreeds.cloud import drivers, naming
from dogbreeds.cloud.aws import Cloud, CloudError, given
from dogbreeds.cloud.endpoints.models import ensure_model
from dogbreeds.cloud.images.uri import cuda_of_image
from dogbreeds.cloud.jobs import follow
from dogbreeds.cloud.jobs.submit import submit_once
from dogbreeds.cloud.settings import CloudSettings, refuse


def check(settings: CloudSettings) -> None:
    """Raise ConfigError for settings that are missing or that SageMaker would refuse."""
    settings.require("aws.role", "aws.bucket")
    settings.check_network()
    requests, size = settings.transform.concurrency, settings.transform.max_payload_mb
    refuse(
        (requests * size > 100,
         "transform.concurrency x transform.max_payload_mb: expected at most 100, got"
         f" {requests} x {size}"),
    )  # fmt: skip


def start(
    cloud: Cloud, source: str, photos: str, *,
    content_type: str = "image/jpeg", name: str | None = None, new: bool = False,
) -> str:  # fmt: skip
    """Start a batch transform job, or find the one that the same command started before.

    `source` is as in `models.artifact_of`; `photos` is ``s3://BUCKET/PREFIX``, of one type.
    For `name`, `new` and the result see `submit_once`. ConfigError or CloudError if something is
    missing or invalid.
    """
    settings = cloud.settings
    batch, aws = settings.transform, settings.aws
    check(settings)
    refuse((not photos.startswith("s3://"), f"expected photos at s3://BUCKET/PREFIX, got {photos}"))
    model = ensure_model(cloud, source)
    prefix = naming.job_prefix(settings, "batch", [model, photos, content_type, batch])
    ami = drivers.batch_ami(batch.instance_type, cuda_of_image(cloud, "serving"))
    has_disk = drivers.has_local_disk(batch.instance_type)

    def submit(name: str) -> None:
        cloud.sagemaker.create_transform_job(  # the SDK's Transformer has no option for the AMI
            TransformJobName=name,
            ModelName=model,
            BatchStrategy="SingleRecord",
            MaxConcurrentTransforms=batch.concurrency,
            MaxPayloadInMB=batch.max_payload_mb,
            TransformInput={
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": photos}},
                "ContentType": content_type,
                "SplitType": "None",
            },
            TransformOutput={
                "S3OutputPath": f"s3://{aws.bucket}/{aws.prefix}/batch/{name}",
                "Accept": "application/json",
                "AssembleWith": "None",
                **given(KmsKeyId=aws.kms_key),
            },
            TransformResources={
                "InstanceType": batch.instance_type,
                "InstanceCount": batch.instance_count,
                **given(TransformAmiVersion=ami, VolumeKmsKeyId="" if has_disk else aws.kms_key),
            },
            Tags=naming.tags(settings),
        )

    return submit_once(cloud, "TransformJob", prefix, submit, name=name, new=new)


def wait(cloud: Cloud, name: str) -> str:
    """Follow a job's log; return the S3 folder of the ``PHOTO.out`` answers, else CloudError."""
    description = follow.follow(cloud, "TransformJob", name, log=True)
    if (status := description["TransformJobStatus"]) != "Completed":
        raise CloudError(f"transform job {name} {status}: {follow.reason(description)}")
    return str(description["TransformOutput"]["S3OutputPath"])
