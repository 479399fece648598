"""What training jobs left on S3 besides their models."""

import re
from pathlib import Path

from botocore.exceptions import ClientError

from dogbreeds.cloud import naming, s3
from dogbreeds.cloud.aws import Cloud, CloudError, is_missing
from dogbreeds.cloud.settings import CloudSettings

_JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")  # SageMaker's own rule


def check_name(job: str) -> None:
    """Refuse what is no file, no folder and no job's name, before AWS is asked.

    Raises:
        CloudError: It cannot be a name.
    """
    if not _JOB_NAME.fullmatch(job):
        raise CloudError(f"{job}: no such file or folder, and no name of a training job either")


def fetch_output(settings: CloudSettings, job: str, folder: Path) -> Path:
    """Download the ``output.tar.gz`` of a training job, with what stood in ``/opt/ml/output/data``.

    Args:
        settings: Region and profile of where the job ran.
        job: Its name.
        folder: Where to put the file, under the job's name.

    Raises:
        CloudError: There is no such job, or it left none.
        botocore.exceptions.ClientError: AWS refused.
    """
    check_name(job)
    job = naming.own_name(settings, job)
    cloud = Cloud(settings)
    try:
        found = cloud.sagemaker.describe_training_job(TrainingJobName=job)
    except ClientError as error:
        if is_missing(error):
            raise CloudError(
                f"no training job {job}, and no file or folder of that name (dogbreeds list shows"
                " the jobs; the table of a tuning job is what dogbreeds tune wrote)"
            ) from error
        raise
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
