"""Downloads of training jobs' system metrics and tensors from S3."""

import tarfile
from pathlib import Path

from botocore.exceptions import ClientError, ParamValidationError

from dogbreeds.cloud import naming, s3
from dogbreeds.cloud.aws import Cloud, CloudError
from dogbreeds.cloud.jobs.outputs import check_name, fetch_output
from dogbreeds.cloud.settings import CloudSettings


def fetch_profile(settings: CloudSettings, job: str, folder: Path) -> Path:
    """Download a job's system metrics: those of SageMaker's Profiler, or the job's own samples.

    Args:
        settings: Region and profile of the job.
        job: Its name.
        folder: The target, an empty folder.

    Returns:
        The folder for `dogbreeds.job_output.profile.read_profile`.

    Raises:
        CloudError: The job does not exist, or it has neither.
        botocore.exceptions.ClientError: AWS refused.
    """
    return _fetch(settings, job, folder, "ProfilerConfig", "profiler-output")


def fetch_trial(settings: CloudSettings, job: str, folder: Path) -> Path:
    """Download the tensors of a job's Debugger, or the job's own findings in them.

    Arguments, result and errors are those of `fetch_profile`.
    """
    return _fetch(settings, job, folder, "DebugHookConfig", "debug-output")


def _fetch(settings: CloudSettings, job: str, folder: Path, section: str, name: str) -> Path:
    """Download a job's output and SageMaker's separate output; one of them may be missing."""
    check_name(job)
    job = naming.own_name(settings, job)
    missing: CloudError | None = None
    try:
        with tarfile.open(fetch_output(settings, job, folder)) as archive:
            archive.extractall(folder, filter="data")
    except CloudError as error:  # a failed job may have no output
        missing = error
    cloud = Cloud(settings)
    try:
        description = cloud.sagemaker.describe_training_job(TrainingJobName=job)
    except (ClientError, ParamValidationError) as error:
        raise missing or error from error
    uri = description.get(section, {}).get("S3OutputPath")
    if uri and s3.download_folder(cloud, f"{uri.rstrip('/')}/{job}/{name}", folder / name):
        return folder
    if missing:
        raise missing
    return folder
