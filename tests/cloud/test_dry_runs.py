"""A dry run refuses the impossible, and says what is made and what it costs."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from dogbreeds.cloud.aws import Cloud
from dogbreeds.cloud.endpoints import operations
from dogbreeds.cloud.settings_sources import load
from helpers.control_plane import SERVING_URI, Calls, Result

Run = Callable[..., Result]
MODEL = "s3://dog-bucket/m/model.tar.gz"
BATCH = ("transform", MODEL, "s3://dog-bucket/photos/test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--name=my_job"), "TrainingJobName: expected letters, digits and single -"),
        (("train", "--name=my job"), "TrainingJobName: expected letters, digits and single -"),
        (("train", f"--name={'x' * 60}"), "TrainingJobName: expected 1 to 63 characters"),
        (("tune", f"--name={'x' * 30}"), "JobName: expected 1 to 32 characters"),
        (("deploy", MODEL, "--name=a_b"), "EndpointName: expected letters, digits and single -"),
        (
            ("deploy", MODEL, "--kind=serverless", "--flavor=cpu", "--concurrency=500"),
            "ServerlessConfig.MaxConcurrency: expected 1 to 200, got 500",
        ),
        (("deploy", MODEL, "--kind=serverless"), "a serverless endpoint has no GPU"),
        (("deploy", MODEL, "--update=linear", "--step-percent=5"), "expected at least 10"),
        (
            ("deploy", MODEL, "--instance-type=ml.g5.2large"),
            "InstanceType: 'ml.g5.2large' is not offered there (did you mean ml.g5.2xlarge",
        ),
        (("deploy", MODEL, "--ami-version=gpu-9"), "InferenceAmiVersion: 'gpu-9' is not offered"),
        (
            ("deploy", MODEL, f"--serving-uri={SERVING_URI.replace('eu-central', 'us-east')}"),
            "is in us-east-1: SageMaker pulls from its own region only",
        ),
        (("train", "--set", "model=resnet51"), "got model 'resnet51'"),
        (("train", "--set", "weights=a.pth"), "comes by the channel `weights`"),
        (("train", "--set", "model=resnet50"), "only those of resnet18 are in the image"),
        (("train", "--instance-type=ml.g5.tiny"), "InstanceType: 'ml.g5.tiny' is not offered"),
        ((*BATCH, "--instance-type=ml.p5.48xlarge"), "TransformResources.InstanceType"),
        (("tune", "--max-jobs=2", "--parallel-jobs=3"), "expected at most tuning.max_jobs, 2"),
        ((*BATCH, "--subnets=subnet-1"), "give both or neither"),
        (
            ("tune", "--set=lr=0.1", "--set=batch_size=8", "--set=epochs=3", "--set=optimizer=sgd"),
            "--set fixes the whole search space",
        ),
    ],
)
def test_a_dry_run_refuses_the_impossible(
    dogbreeds: Run, arguments: tuple[str, ...], message: str
) -> None:
    result = dogbreeds(*arguments, "--dry-run")
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_a_plan_says_what_is_made_what_stays_and_what_it_costs(
    dogbreeds: Run, aws: boto3.Session, calls: Calls
) -> None:
    result = dogbreeds("train", "--name=breeds-1", "--dry-run")
    assert "+ training job dogbreeds-breeds-1" in result.out
    assert "1 x 1 x ml.g5.xlarge for at most 4 h, at most about 5.63 USD" in result.out
    assert "Not looked up" not in result.out
    assert not calls.of("CreateTrainingJob") or "{" not in result.out

    plan = dogbreeds("deploy", MODEL, "--dry-run").out
    assert re.search(r"\+ endpoint config dogbreeds-config-\w+\n +main: 1 x ml.m5.large", plan)
    assert dogbreeds("deploy", MODEL, "--no-wait").code == 0
    again = dogbreeds("deploy", MODEL, "--dry-run").out
    assert re.search(r"= model dogbreeds-model-\w+: exists already", again)
    assert "= endpoint dogbreeds: exists already" in again
    update = dogbreeds("deploy", MODEL, "--dry-run", "--startup-seconds=700", "--update=canary").out
    assert "~ endpoint dogbreeds" in update
    assert "rolled back on dogbreeds-5xx, dogbreeds-latency" in update
    unknown = dogbreeds("deploy", MODEL, "--dry-run", "--instance-type=ml.p5.48xlarge").out
    assert "price of ml.p5.48xlarge not known" in unknown


def test_without_credentials_a_plan_says_that_nothing_was_looked_up(
    dogbreeds: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    result = dogbreeds("train", "--dry-run")
    assert "Not looked up: what exists already (no AWS credentials are found" in result.out


def test_alarms_and_updates_are_what_the_services_take(workplace: Path) -> None:
    flags = {"endpoint.kind": "async", "endpoint.max_instances": "2", "images.flavor": "cpu"}
    cloud = Cloud(load(flags={**flags, "endpoint.scale_to_zero": "true"}), dry_run=True)
    operations.ensure_monitoring(cloud, "dogbreeds")
    operations.scale(cloud)
    requests = [(name, content) for request in cloud.requests for name, content in request.items()]
    assert ("RegisterScalableTarget", 0) in [(n, c.get("MinCapacity")) for n, c in requests]
    wake = [content for _, content in requests if content.get("AlarmName") == "dogbreeds-wake"]
    assert [alarm["MetricName"] for alarm in wake] == ["HasBacklogWithoutCapacity"]


def test_hyperband_hands_out_the_epochs_itself(dogbreeds: Run) -> None:
    result = dogbreeds("tune", "--strategy=Hyperband", "--dry-run", "--json")
    request = json.loads(result.out)[0]["CreateHyperParameterTuningJob"]
    config = request["HyperParameterTuningJobConfig"]
    assert config["TrainingJobEarlyStoppingType"] == "Off"
    assert config["StrategyConfig"]["HyperbandStrategyConfig"] == {
        "MinResource": 1, "MaxResource": 20
    }  # fmt: skip
    assert request["TrainingJobDefinition"]["StaticHyperParameters"]["epochs"] == "20"
    assert "epochs" not in json.dumps(config["ParameterRanges"])


def test_any_setting_can_be_given_as_a_flag(dogbreeds: Run) -> None:
    result = dogbreeds(
        "train", "--dry-run", "--json", "--project=puppies", "--tags=team=dogs,env=x",
        "--setting=images.keep=20",
    )  # fmt: skip
    request = json.loads(result.out)[0]["CreateTrainingJob"]
    assert request["TrainingJobName"].startswith("puppies-train-")
    assert {"Key": "env", "Value": "x"} in request["Tags"]
    assert "unknown setting projct: did you mean project" in (
        dogbreeds("config", "--setting=projct=x").err
    )
