"""`dogbreeds train`: one request, sent once, followed to its end."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from helpers.control_plane import ROLE, TRAINING_URI, Calls, Result, assert_golden

Run = Callable[..., Result]


def planned(result: Result) -> list[dict[str, Any]]:
    """Return the requests that a dry run printed."""
    assert result.code == 0, result.err
    requests: list[dict[str, Any]] = json.loads(result.out)
    return requests


def add_settings(text: str) -> None:
    path = Path("dogbreeds.toml")
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize(
    ("golden", "flags"),
    [
        ("train", ("--set", "epochs=3")),
        ("train_spot", ("--spot", "--weights=s3://dog-bucket/weights", "--input-mode=FastFile")),
        (
            "train_everything",
            (
                "--instance-type=ml.p3.16xlarge", "--instance-count=2", "--debugger", "--profiler",
                "--warm-pool=600",
                "--subnets=subnet-1,subnet-2", "--security-groups=sg-1", "--isolation",
                "--encrypt-traffic", "--kms-key=key-1",
            ),
        ),
    ],
)  # fmt: skip
def test_a_dry_run_prints_the_request_and_sends_nothing(
    dogbreeds: Run, golden: str, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")  # and there is no AWS to talk to
    result = dogbreeds("train", "--dry-run", "--json", "--name", "dogbreeds-job-1", *flags)
    requests = planned(result)
    # The SDK keeps collections in a set.
    for hook in (request["CreateTrainingJob"].get("DebugHookConfig", {}) for request in requests):
        hook.get("CollectionConfigurations", []).sort(key=lambda c: c["CollectionName"])
    assert_golden(golden, requests)


def test_a_dry_run_is_what_is_then_sent(dogbreeds: Run, aws: boto3.Session, calls: Calls) -> None:
    arguments = ("train", "--name", "dogbreeds-job-1", "--spot", "--set", "lr=0.001")
    [planned_request] = planned(dogbreeds(*arguments, "--dry-run", "--json"))
    calls.clear()
    assert dogbreeds(*arguments, "--no-wait").code == 0
    assert calls.of("CreateTrainingJob") == [planned_request["CreateTrainingJob"]]


def test_train_follows_the_job_and_reports_model_and_cost(
    dogbreeds: Run, aws: boto3.Session
) -> None:
    logs = aws.client("logs")
    group, stream = "/aws/sagemaker/TrainingJobs", "dogbreeds-job-1/algo-1-1234"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    now = int(1000 * time.time())
    for moment in range(3):
        logs.put_log_events(
            logGroupName=group,
            logStreamName=stream,
            logEvents=[{"timestamp": now + moment, "message": f"line {moment}"}],
        )
    add_settings('[prices]\n"ml.g5.xlarge" = 1.5\n')
    result = dogbreeds("train", "--name", "dogbreeds-job-1")
    assert result.code == 0
    assert result.out.splitlines()[:4] == ["dogbreeds-job-1", "line 0", "line 1", "line 2"]
    assert "dogbreeds-job-1: Completed" in result.out
    assert "USD" in result.out
    assert "s3://dog-bucket/dogbreeds/jobs" in result.out


def test_the_same_command_does_not_start_a_second_job(dogbreeds: Run, aws: boto3.Session) -> None:
    for _ in range(2):
        assert dogbreeds("train", "--name", "dogbreeds-job-1", "--no-wait").code == 0
    jobs = aws.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    assert [job["TrainingJobName"] for job in jobs] == ["dogbreeds-job-1"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--set", "epoch=3"), "unknown hyperparameter epoch: did you mean epochs"),
        (("--set", "epochs"), "'--set': expected NAME=VALUE, got 'epochs'"),
        (("--spot", "--max-wait=100"), "at least training.max_run"),
        (("--spot", "--warm-pool=60"), "does not go with training.spot"),
        (("--subnets=a",), "give both or neither"),
        (("",), "training.data is not set"),
        (("--training-uri=",), "make build push FLAVOR=gpu"),
        (
            ("--instance-type", "g5"),
            "--instance-type: training.instance_type: expected an instance",
        ),
    ],
)
def test_an_impossible_job_is_refused_before_anything_is_sent(
    dogbreeds: Run, flags: tuple[str, ...], message: str
) -> None:
    result = dogbreeds("train", *flags)
    assert result.code == 2
    assert message in result.err


def test_a_job_is_tagged_and_runs_as_the_role(dogbreeds: Run, aws: boto3.Session) -> None:
    add_settings('[tags]\nteam = "dogs"\n')
    dogbreeds("train", "--name", "dogbreeds-job-1", "--no-wait")
    client = aws.client("sagemaker")
    job = client.describe_training_job(TrainingJobName="dogbreeds-job-1")
    assert job["RoleArn"] == ROLE
    assert job["AlgorithmSpecification"]["TrainingImage"] == TRAINING_URI
    tags = client.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "team": "dogs",
        "dogbreeds:project": "dogbreeds",
    }
