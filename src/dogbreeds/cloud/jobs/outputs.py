"""Outputs of training jobs on S3, other than their models."""

import re
import tarfile
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from dogbreeds.cloud import naming, s3
from dogbreeds.cloud.aws import Cloud, CloudError, get_if_exists, is_missing
from dogbreeds.cloud.settings import CloudSettings

_JOB_NAME = r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"  # SageMaker's own rule
_SECTIONS = {"profiler": "ProfilerConfig", "debug": "DebugHookConfig"}  # of a job's description


def fetch_output(settings: CloudSettings, job: str, folder: Path) -> Path:
    """Download a job's ``/opt/ml/output/data`` as ``JOB.tar.gz``; CloudError if there is none."""
    cloud = Cloud(settings)
    return _download_output(cloud, _describe(cloud, job), folder)


def _describe(cloud: Cloud, job: str) -> dict[str, Any]:
    if not re.fullmatch(_JOB_NAME, job):
        raise CloudError(f"{job}: no such file or folder, and no name of a training job either")
    job = naming.own_name(cloud.settings, job)
    found = get_if_exists(cloud.sagemaker.describe_training_job, TrainingJobName=job)
    if found is None:
        raise CloudError(
            f"no training job {job}, and no file or folder of that name (dogbreeds list shows"
            " the jobs; the table of a tuning job is what dogbreeds tune wrote)"
        )
    return found


def _download_output(cloud: Cloud, description: dict[str, Any], folder: Path) -> Path:
    job, root = description["TrainingJobName"], description["OutputDataConfig"]["S3OutputPath"]
    bucket, key = s3.parse(f"{root.rstrip('/')}/{job}/output/output.tar.gz")
    file = folder / f"{job}.tar.gz"
    try:
        cloud.client("s3").download_file(bucket, key, str(file))
    except ClientError as error:
        if is_missing(error):
            status = description["TrainingJobStatus"]
            raise CloudError(f"job {job} ({status}) left no s3://{bucket}/{key}") from error
        raise
    return file


def fetch_monitoring(settings: CloudSettings, job: str, folder: Path, source: str) -> Path:
    """Download a job's system metrics (``profiler``) or tensors (``debug``) to an empty folder.

    These are the job's own and those of SageMaker, which may lack one of them. The folder is
    returned, for `dogbreeds.job_output.profile.read_profile` or the Debugger's rules. CloudError if
    the job does not exist, or has neither.
    """
    cloud = Cloud(settings)
    description = _describe(cloud, job)
    uri = description.get(_SECTIONS[source], {}).get("S3OutputPath", "").rstrip("/")
    name = f"{source}-output"
    theirs = f"{uri}/{description['TrainingJobName']}/{name}"
    found = s3.download_folder(cloud, theirs, folder / name) if uri else 0
    try:
        with tarfile.open(_download_output(cloud, description, folder)) as archive:
            archive.extractall(folder, filter="data")
    except CloudError:  # a failed job may have no output
        if not found:
            raise
    return folder
