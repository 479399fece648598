"""System metrics and tensors of training jobs, fetched from S3."""

import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from botocore.exceptions import ClientError, ParamValidationError

from dogbreeds.cloud.aws import Cloud, CloudError
from dogbreeds.cloud.jobs.outputs import check_name, fetch_output
from dogbreeds.cloud.settings import CloudSettings

_WORKERS = 16  # thousands of small files


def fetch_profile(settings: CloudSettings, job: str, folder: Path) -> Path:
    """Download a job's system metrics: those of SageMaker's Profiler, or what the job sampled.

    Args:
        settings: Region and profile of where the job ran.
        job: Its name.
        folder: Where to; an empty one.

    Returns:
        What `dogbreeds.job_output.profile.read_profile` reads.

    Raises:
        CloudError: There is no such job, or it has neither.
        botocore.exceptions.ClientError: AWS refused.
    """
    return _fetch(settings, job, folder, "ProfilerConfig", "profiler-output")


def fetch_trial(settings: CloudSettings, job: str, folder: Path) -> Path:
    """Download the tensors of a job's Debugger, or what the job itself found in them.

    Args:
        settings: Region and profile of where the job ran.
        job: Its name.
        folder: Where to; an empty one.

    Raises:
        CloudError: There is no such job, or it has neither.
        botocore.exceptions.ClientError: AWS refused.
    """
    return _fetch(settings, job, folder, "DebugHookConfig", "debug-output")


def _fetch(settings: CloudSettings, job: str, folder: Path, section: str, name: str) -> Path:
    """Download a job's output, and what SageMaker keeps apart from it; one may be missing."""
    check_name(job)
    missing: CloudError | None = None
    try:
        with tarfile.open(fetch_output(settings, job, folder)) as archive:
            archive.extractall(folder, filter="data")
    except CloudError as error:  # a job that failed may have no output
        missing = error
    cloud = Cloud(settings)
    try:
        description = cloud.sagemaker.describe_training_job(TrainingJobName=job)
    except (ClientError, ParamValidationError) as error:
        raise missing or error from error
    uri = description.get(section, {}).get("S3OutputPath")
    if uri and _download(cloud, f"{uri.rstrip('/')}/{job}/{name}/", folder / name):
        return folder
    if missing:
        raise missing
    return folder


def _download(cloud: Cloud, uri: str, folder: Path) -> int:
    """Download all below an S3 address, and return how many files that were."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    client = cloud.client("s3")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    targets = {key: folder / key.removeprefix(prefix) for key in keys if not key.endswith("/")}
    for target in targets.values():
        if not target.resolve().is_relative_to(folder.resolve()):
            raise CloudError(f"an object in {uri} would be written outside of {folder}")
        target.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(lambda key: client.download_file(bucket, key, str(targets[key])), targets))
    return len(targets)
