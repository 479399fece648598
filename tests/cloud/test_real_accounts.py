"""What a real account does to a new user's first day: names, channels, alarms, costs."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber

from dogbreeds.cloud.aws import Cloud
from dogbreeds.cloud.settings_sources import load
from helpers.control_plane import REGISTRY, Calls, Result, Runtime

Run = Callable[..., Result]
ROOT = Path(__file__).parents[2]
MODEL = "s3://dog-bucket/m/model.tar.gz"
BATCH = ("transform", MODEL, "s3://dog-bucket/photos/test")


def readme_commands() -> list[list[str]]:
    """The commands of docs/sagemaker.md that ask AWS, as they stand there."""
    page = (ROOT / "docs" / "sagemaker.md").read_text()
    block = re.search(r"```sh\n(.*?)```", page, re.DOTALL)
    assert block is not None
    lines = [line for line in block[1].splitlines() if line.startswith(".venv/bin/dogbreeds")]
    return [shlex.split(line)[1:] for line in lines]


def test_the_pages_first_commands_work_word_for_word(
    dogbreeds: Run,
    aws: boto3.Session,
    runtime: Runtime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 a photo")
    commands = readme_commands()
    assert ["train", "--name", "breeds-1"] in [command[:3] for command in commands]
    for command in commands:
        if command[0] == "doctor":
            continue  # moto has no simulator and no quotas: test_doctor.py
        extra = ["--no-wait"] if command[0] == "tune" else []  # moto lists no jobs of a search
        result = dogbreeds(*command, *extra)
        assert result.code == 0, (command, result.err)
        if command[0] == "list":
            for name in ("dogbreeds", "dogbreeds-breeds-1", "dogbreeds-breeds-2"):
                assert f" {name} " in result.out
    assert dogbreeds("delete", "--all", "--yes").code == 0
    left = json.loads(dogbreeds("list", "--json").out)
    assert {item["kind"] for item in left} <= {"training-job", "tuning-job"}  # history


def test_words_that_botocore_does_not_know_yet_are_left_to_aws(aws: boto3.Session) -> None:
    cloud = Cloud(load())
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.new9.xlarge",
               "InitialInstanceCount": 1}  # fmt: skip
    with Stubber(cloud.sagemaker) as stub:
        stub.add_response("create_endpoint_config", {"EndpointConfigArn": "a" * 20})
        cloud.sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (("--set=epochs=3",), ("--set=epochs=4",), "HyperParameters.epochs: 3 there, 4 here"),
        (("--set=epochs=3",), (), "HyperParameters.epochs: 3 there, nothing here"),
        ((), (f"--training-uri={REGISTRY}/x@sha256:{'c' * 64}",), "TrainingImage: "),
    ],
)
def test_a_job_of_this_name_with_other_settings_is_refused(
    dogbreeds: Run,
    aws: boto3.Session,
    first: tuple[str, ...],
    second: tuple[str, ...],
    message: str,
) -> None:
    assert dogbreeds("train", "--name=breeds-1", "--no-wait", *first).code == 0
    result = dogbreeds("train", "--name=breeds-1", *second)
    assert (result.code, result.out) == (1, "")
    assert "dogbreeds-breeds-1 exists already, with other settings" in result.err
    assert message in result.err


def test_a_transform_job_of_this_name_with_other_photos_is_refused(
    dogbreeds: Run, aws: boto3.Session
) -> None:
    assert dogbreeds(*BATCH, "--name=b", "--no-wait").code == 0
    result = dogbreeds(*BATCH, "--name=b", "--content-type=image/png")
    assert "ContentType: image/jpeg there, image/png here" in result.err


@pytest.mark.parametrize(
    "command", [("deploy", "my job"), ("register", "my job"), ("predict", "a.jpg", "--name=my end")]
)
def test_a_name_that_cannot_be_is_refused_before_aws_is_asked(
    dogbreeds: Run, aws: boto3.Session, command: tuple[str, ...]
) -> None:
    Path("a.jpg").touch()
    result = dogbreeds(*command)
    assert result.code == 2
    assert "Name: expected letters, digits and single - between them" in result.err


def test_channels_are_the_splits_that_are_there(
    dogbreeds: Run, aws: boto3.Session, calls: Calls
) -> None:
    s3 = aws.client("s3")
    s3.delete_object(Bucket="dog-bucket", Key="photos/test/1.A/a.jpg")
    assert dogbreeds("train", "--no-wait").code == 0
    [request] = calls.of("CreateTrainingJob")
    channels = [channel["ChannelName"] for channel in request["InputDataConfig"]]
    assert channels == ["train", "valid"]
    s3.delete_object(Bucket="dog-bucket", Key="photos/valid/1.A/a.jpg")
    result = dogbreeds("train", "--no-wait", "--new")
    assert result.code == 2
    assert "found no valid/ or test/" in result.err
    assert "there is no bucket no-bucket" in dogbreeds("train", "s3://no-bucket/x").err


def test_list_tells_age_and_cost(dogbreeds: Run, aws: boto3.Session) -> None:
    assert dogbreeds("deploy", MODEL, "--no-wait").code == 0
    [line] = [x for x in dogbreeds("list").out.splitlines() if x.startswith("endpoint ")]
    assert re.search(r"dogbreeds +InService +0\.0 h +about 0\.1[12] USD per hour", line)


def test_alarms_and_dashboard_come_and_go_with_the_endpoint(
    dogbreeds: Run, aws: boto3.Session
) -> None:
    topic = "arn:aws:sns:eu-central-1:123456789012:dogs"
    assert dogbreeds("deploy", MODEL, "--no-wait", f"--alarm-topic={topic}").code == 0
    client = aws.client("cloudwatch")
    made = client.describe_alarms()["MetricAlarms"]
    assert {alarm["AlarmName"] for alarm in made} == {
        "dogbreeds-5xx", "dogbreeds-latency", "dogbreeds-idle", "dogbreeds-disk"
    }  # fmt: skip
    assert {tuple(alarm["AlarmActions"]) for alarm in made} == {(topic,)}
    assert client.list_dashboards()["DashboardEntries"]
    assert dogbreeds("delete", "dogbreeds", "--yes").code == 0
    assert not client.describe_alarms()["MetricAlarms"]
    assert not client.list_dashboards()["DashboardEntries"]


def test_a_photo_that_is_not_there_is_told_before_anything_is_made(
    dogbreeds: Run, aws: boto3.Session, calls: Calls
) -> None:
    result = dogbreeds("deploy", MODEL, "--photo=nosuch.jpg")
    assert result.code == 1
    assert "no such photo: nosuch.jpg" in result.err
    Path("empty").mkdir()
    assert "no photos in empty" in dogbreeds("deploy", MODEL, "--photo=empty").err
    assert not calls
