"""`dogbreeds profile` and `dogbreeds debug`: what jobs left on S3."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import pytest

from dogbreeds.job_output.findings import FINDINGS_FILE, Finding, Verdict
from dogbreeds.monitoring.system_metrics import write_samples
from helpers.control_plane import Result

Run = Callable[..., Result]
START = 1795378560.25


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    """What a profiler writes in four seconds of work."""
    for position in range(8):
        sample = ("cpu", "cpu0", "CPUUtilization", 95.0)
        write_samples(tmp_path / "metrics", "algo-1", START + position / 2, [sample])
    return tmp_path / "metrics"


def put_output(aws: boto3.Session, job: str, files: dict[str, bytes]) -> None:
    """Put the output.tar.gz of a job where SageMaker puts it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    key = f"dogbreeds/jobs/{job}/output/output.tar.gz"
    aws.client("s3").put_object(Bucket="dog-bucket", Key=key, Body=stream.getvalue())


def files_of(folder: Path, prefix: str) -> dict[str, bytes]:
    return {
        f"{prefix}{path.relative_to(folder)}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_a_job_sampled_itself_is_in_its_output(
    dogbreeds: Run, aws: boto3.Session, metrics: Path
) -> None:
    assert dogbreeds("train", "--name", "dogbreeds-job-1", "--no-wait").code == 0
    phases = [{"name": "train 1", "start": START, "end": START + 4}]
    put_output(
        aws,
        "dogbreeds-job-1",
        {**files_of(metrics, "profiler/"), "phases.json": json.dumps(phases).encode()},
    )
    result = dogbreeds("profile", "dogbreeds-job-1", "--rows", "2")
    assert result.code == 0, result.err
    assert result.out.startswith("timestamp ")
    assert "train 1" in result.out
    assert "compute-bound: CPUs 95 % busy" in result.out


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Describe jobs with the configurations that moto forgets."""
    make_api_call = botocore.client.BaseClient._make_api_call
    kept: dict[str, Any] = {}

    def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        if operation == "CreateTrainingJob":
            kept.update(parameters)
        answer = make_api_call(client, operation, parameters)
        if operation == "DescribeTrainingJob":
            configurations = ("ProfilerConfig", "DebugHookConfig")
            answer.update({name: kept[name] for name in configurations if name in kept})
        return answer

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)


@pytest.mark.usefixtures("remembered")
def test_sagemakers_own_profiler_is_read_where_it_ran(
    dogbreeds: Run, aws: boto3.Session, metrics: Path
) -> None:
    assert dogbreeds("train", "--name", "dogbreeds-job-1", "--profiler", "--no-wait").code == 0
    for key, content in files_of(
        metrics, "dogbreeds/profiler/dogbreeds-job-1/profiler-output/"
    ).items():
        aws.client("s3").put_object(Bucket="dog-bucket", Key=key, Body=content)
    result = dogbreeds("profile", "dogbreeds-job-1")
    assert result.code == 0, result.err
    assert "compute-bound: CPUs 95 % busy" in result.out


def test_what_a_jobs_rules_found_is_in_its_output(dogbreeds: Run, aws: boto3.Session) -> None:
    assert dogbreeds("train", "--name", "dogbreeds-job-1", "--no-wait").code == 0
    finding = Finding("DeadRelu", "share", "above 0.5", "check", (Verdict(3, 0.9, True, "relu"),))
    put_output(aws, "dogbreeds-job-1", {FINDINGS_FILE: json.dumps([finding.to_json()]).encode()})
    result = dogbreeds("debug", "dogbreeds-job-1")
    assert result.code == 1  # a rule fires
    assert "step 3 in relu: share is 0.9" in result.out


@pytest.mark.parametrize("verb", ["profile", "debug"])
def test_a_job_that_left_nothing_is_named(dogbreeds: Run, aws: boto3.Session, verb: str) -> None:
    result = dogbreeds(verb, "dogbreeds-job-1")
    assert result.code == 1
    assert "no training job dogbreeds-job-1" in result.err
    assert dogbreeds("train", "--name", "dogbreeds-job-1", "--no-wait").code == 0
    result = dogbreeds(verb, "dogbreeds-job-1")
    assert result.code == 1
    assert (
        "left no s3://dog-bucket/dogbreeds/jobs/dogbreeds-job-1/output/output.tar.gz" in result.err
    )
