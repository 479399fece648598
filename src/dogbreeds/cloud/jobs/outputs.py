"""Outputs of training jobs on S3, other than their models."""

import re
from pathlib import Path

from botocore.exceptions import ClientError

from dogbreeds.cloud import naming, s3
from dogbreeds.cloud.aws import Cloud, CloudError, get_if_exists, is_missing
from dogbreeds.cloud.settings import CloudSettings

_JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")  # SageMaker's own rule


def check_name(job: str) -> None:
    """Check the name of a job that is no local file or folder, before asking AWS.

    Raises:
        CloudError: It is not a valid name.
    """
    if not _JOB_NAME.fullmatch(job):
        raise CloudError(f"{job}: no such file or folder, and no name of a training job either")


def fetch_output(settings: CloudSettings, job: str, folder: Path) -> Path:
    """Download the ``output.tar.gz`` of a training job, the content of ``/opt/ml/output/data``.

    Args:
        settings: Region and profile of the job.
        job: Its name.
        folder: The target; the file is named after the job.

    Raises:
        CloudError: The job does not exist, or it has no output.
        botocore.exceptions.ClientError: AWS refused.
    """
    check_name(job)
    job = naming.own_name(settings, job)
    cloud = Cloud(settings)
    found = get_if_exists(cloud.sagemaker.describe_training_job, TrainingJobName=job)
    if found is None:
        raise CloudError(
            f"no training job {job}, and no file or folder of that name (dogbreeds list shows"
            " the jobs; the table of a tuning job is what dogbreeds tune wrote)"
        )
    bucket, prefix = s3.parse(found["OutputDataConfig"]["S3OutputPath"].rstrip("/"))
    key = f"{prefix}/{job}/output/output.tar.gz".lstrip("/")
    file = folder / f"{job}.tar.gz"
    try:
        cloud.client("s3").download_file(bucket, key, str(file))
    except ClientError as error:
        if is_missing(error):
            status = found["TrainingJobStatus"]
            raise CloudError(f"job {job} ({status}) left no s3://{bucket}/{key}") from error
        raise
    return file
