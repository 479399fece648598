"""`dogbreeds report` of jobs that ran on SageMaker."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import boto3

from helpers.control_plane import Result

Run = Callable[..., Result]


def output_tar() -> bytes:
    """Return an output.tar.gz as SageMaker packs ``/opt/ml/output/data``."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        history = json.dumps([{"valid_accuracy": 0.9, "valid_loss": 0.4}]).encode()
        member = tarfile.TarInfo("history.json")
        member.size = len(history)
        archive.addfile(member, io.BytesIO(history))
    return packed.getvalue()


def test_a_jobs_output_is_fetched_and_reported(
    dogbreeds: Run, aws: boto3.Session, workplace: Path
) -> None:
    dogbreeds("train", "--name=breeds-1", "--no-wait")
    key = "dogbreeds/jobs/dogbreeds-breeds-1/output/output.tar.gz"
    aws.client("s3").put_object(Bucket="dog-bucket", Key=key, Body=output_tar())
    result = dogbreeds("report", "breeds-1")
    assert result.code == 0
    assert result.out == "Wrote build/report.html: open it in a browser\n"
    text = (workplace / "build" / "report.html").read_text(encoding="utf-8")
    assert "<title>dogbreeds-breeds-1 - training report</title>" in text
    assert '"valid_accuracy":0.9' in text


def test_a_job_without_output_is_told(dogbreeds: Run, aws: boto3.Session, workplace: Path) -> None:
    dogbreeds("train", "--name=breeds-1", "--no-wait")
    result = dogbreeds("report", "breeds-1")
    assert result.code == 1
    left = "s3://dog-bucket/dogbreeds/jobs/dogbreeds-breeds-1"
    assert f"job dogbreeds-breeds-1 (Completed) left no {left}" in result.err
    assert not (workplace / "build").exists()


def test_what_is_no_job_and_no_folder_is_told(dogbreeds: Run, aws: boto3.Session) -> None:
    assert "no training job dogbreeds-breeds-9" in dogbreeds("report", "breeds-9").err
    assert "./runs/1: no such file or folder" in dogbreeds("report", "./runs/1").err


def test_a_folder_without_a_job_is_told_in_one_line(dogbreeds: Run, workplace: Path) -> None:
    result = dogbreeds("report", str(workplace))
    assert result.code == 1
    assert result.err.startswith("error: expected the output of a training job")
    assert result.err.count("\n") == 1
