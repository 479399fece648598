"""`dogbreeds transform`, `register`, `list` and `delete`."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber

from dogbreeds.cloud import inventory, prices
from dogbreeds.cloud.aws import Cloud
from dogbreeds.cloud.jobs import transform
from dogbreeds.cloud.settings_sources import load
from helpers.control_plane import ACCOUNT, Calls, Result, assert_golden

Run = Callable[..., Result]
MODEL = "s3://dog-bucket/m/model.tar.gz"
PHOTOS = "s3://dog-bucket/photos/test"


def test_transform_prints_the_request(dogbreeds: Run) -> None:
    result = dogbreeds(
        "transform",
        MODEL,
        PHOTOS,
        "--name=dogbreeds-batch-1",
        "--kms-key=key-1",
        "--dry-run",
        "--json",
    )
    assert_golden("transform", json.loads(result.out))


def test_transform_asks_for_the_newest_driver_where_the_image_needs_it(dogbreeds: Run) -> None:
    entry = {"uri": "x@sha256:1", "tags": [], "base": "nvcr.io/nvidia/pytorch:25.04-py3"}
    Path(".dogbreeds").mkdir()
    Path(".dogbreeds/images.json").write_text(json.dumps({"gpu": {"serving": entry}}))
    result = dogbreeds("transform", MODEL, PHOTOS, "--dry-run", "--json", "--serving-uri=",
                       "--instance-type=ml.g5.xlarge")  # fmt: skip
    request = json.loads(result.out)[-1]["CreateTransformJob"]
    ami = request["TransformResources"]["TransformAmiVersion"]
    assert ami == "al2-ami-sagemaker-batch-gpu-535"


def test_transform_runs_once_and_says_where_the_answers_are(
    dogbreeds: Run, aws: boto3.Session, calls: Calls
) -> None:
    for _ in range(2):
        assert (
            dogbreeds("transform", MODEL, PHOTOS, "--name=dogbreeds-batch-1", "--no-wait").code == 0
        )
    assert len(calls.of("CreateTransformJob")) == 1
    assert (
        transform.wait(Cloud(load()), "dogbreeds-batch-1")
        == "s3://dog-bucket/dogbreeds/batch/dogbreeds-batch-1"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MODEL, "photos"), "expected photos at s3://BUCKET/PREFIX"),
        ((MODEL, PHOTOS, "--max-payload-mb=20"), "expected at most 100, got 8 x 20"),
    ],
)
def test_an_impossible_transform_is_refused(
    dogbreeds: Run, arguments: tuple[str, ...], message: str
) -> None:
    result = dogbreeds("transform", *arguments)
    assert result.code == 2
    assert message in result.err


def test_register_prints_the_requests(dogbreeds: Run) -> None:
    group, package = json.loads(dogbreeds("register", MODEL, "--dry-run", "--json").out)
    del package["CreateModelPackage"]["ClientToken"]  # random
    assert_golden("register", [group, package])


def test_a_model_is_registered_once_with_its_metrics_and_then_approved(
    dogbreeds: Run, aws: boto3.Session
) -> None:
    dogbreeds("train", "--name=dogbreeds-job-1", "--no-wait")
    first = dogbreeds("register", "dogbreeds-job-1")
    assert first.code == 0
    client = aws.client("sagemaker")
    package = client.describe_model_package(ModelPackageName=first.out.strip())
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    statistics = package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    key = statistics.removeprefix("s3://dog-bucket/")
    document = json.load(aws.client("s3").get_object(Bucket="dog-bucket", Key=key)["Body"])
    assert document["multiclass_classification_metrics"]

    refused = dogbreeds("deploy", first.out.strip(), "--no-wait")
    assert "is PendingManualApproval: approve it first" in refused.err

    second = dogbreeds("register", "dogbreeds-job-1", "--approve")
    assert second.out == first.out
    package = client.describe_model_package(ModelPackageName=first.out.strip())
    assert package["ModelApprovalStatus"] == "Approved"
    assert dogbreeds("deploy", first.out.strip(), "--no-wait").code == 0


@pytest.fixture
def busy(aws: boto3.Session, dogbreeds: Run) -> boto3.Session:
    """An account with one thing of each kind of ours, and things of others."""
    for arguments in (
        ("train", "--name=dogbreeds-job-1"),
        ("tune", "--name=dogbreeds-tune-1"),
        ("transform", MODEL, PHOTOS, "--name=dogbreeds-batch-1"),
        ("deploy", MODEL),
    ):
        assert dogbreeds(*arguments, "--no-wait").code == 0
    client, ecr = aws.client("sagemaker"), aws.client("ecr")
    ours = [{"Key": "dogbreeds:project", "Value": "dogbreeds"}]
    client.create_model_package_group(ModelPackageGroupName="dogbreeds-models", Tags=ours)
    ecr.create_repository(repositoryName="dogbreeds-training", tags=ours)
    ecr.create_repository(repositoryName="dogbreeds-of-others")
    aws.client("cloudwatch").put_metric_alarm(
        AlarmName="dogbreeds-of-others", MetricName="x", Namespace="x", Period=60, Threshold=1,
        EvaluationPeriods=1, ComparisonOperator="LessThanThreshold", Statistic="Sum",
    )  # fmt: skip
    for name in ("others-model", "dogbreeds-model-of-others"):
        client.create_model(
            ModelName=name,
            ExecutionRoleArn=f"arn:aws:iam::{ACCOUNT}:role/x",
            PrimaryContainer={"Image": "x"},
            Tags=[{"Key": "dogbreeds:project", "Value": "another-project"}],
        )
    return aws


def test_list_shows_and_delete_removes_all_of_the_project_and_nothing_else(
    dogbreeds: Run, busy: boto3.Session
) -> None:
    listed = json.loads(dogbreeds("list", "--json").out)
    assert [item["kind"] for item in listed] == [
        "endpoint", "endpoint-config", "transform-job", "tuning-job", "training-job", "model",
        "model-package-group", *["alarm"] * 4, "image-repository",
    ]  # fmt: skip
    costly = {item["name"] for item in listed if item["costs"] and item["kind"] != "alarm"}
    assert costly == {"dogbreeds", "dogbreeds-training"}
    assert not [item for item in listed if "others" in item["name"]]

    names = [item["name"] for item in listed if item["kind"] != "model-package-group"]
    assert dogbreeds("delete", *names, "--yes").code == 0  # moto cannot delete the group
    left = json.loads(dogbreeds("list", "--json").out)
    jobs = {"transform-job", "tuning-job", "training-job"}  # history, which stays
    assert {item["kind"] for item in left} == {*jobs, "model-package-group"}
    models = busy.client("sagemaker").list_models()["Models"]
    assert {m["ModelName"] for m in models} == {"others-model", "dogbreeds-model-of-others"}
    repositories = busy.client("ecr").describe_repositories()["repositories"]
    assert [r["repositoryName"] for r in repositories] == ["dogbreeds-of-others"]
    alarms = busy.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert [alarm["AlarmName"] for alarm in alarms] == ["dogbreeds-of-others"]


def test_an_endpoint_that_was_scaled_to_zero_costs_nothing(workplace: Path) -> None:
    cloud = Cloud(load())
    now = datetime.now(UTC)
    live = {"EndpointName": "dogbreeds", "EndpointArn": "a" * 20, "EndpointConfigName": "c",
            "EndpointStatus": "InService", "CreationTime": now,
            "LastModifiedTime": now}  # fmt: skip
    variant = {"VariantName": "main", "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 2}
    config = {"EndpointConfigName": "c", "EndpointConfigArn": "a" * 20, "CreationTime": now,
              "ProductionVariants": [variant]}  # fmt: skip
    creating, idle = (
        live,
        live | {"ProductionVariants": [{"VariantName": "main", "CurrentInstanceCount": 0}]},
    )
    with Stubber(cloud.sagemaker) as stub:
        for answer in (creating, idle):
            stub.add_response("describe_endpoint", answer)
            stub.add_response("describe_endpoint_config", config)
        found = [prices.of_resource(cloud, "endpoint", "dogbreeds") for _ in range(2)]
    assert found == [pytest.approx(2 * 1.408), 0]


def test_delete_shows_and_asks_first(
    dogbreeds: Run, aws: boto3.Session, monkeypatch: pytest.MonkeyPatch, calls: Calls
) -> None:
    dogbreeds("deploy", MODEL, "--no-wait")
    monkeypatch.setattr("builtins.input", lambda _: "n")
    result = dogbreeds("delete", "dogbreeds")
    assert result.code == 1
    assert result.out.startswith("endpoint  dogbreeds  InService")
    assert not [name for _, name, _ in calls if name.startswith("Delete")]


def test_delete_refuses_names_of_others(dogbreeds: Run, aws: boto3.Session) -> None:
    result = dogbreeds("delete", "others-model", "--yes")
    assert result.code == 2
    assert "not of this project, or not there: others-model" in result.err
    assert "name what to delete" in dogbreeds("delete").err


def test_running_jobs_are_stopped_and_a_failure_does_not_keep_the_rest(workplace: Path) -> None:
    now = datetime.now(UTC)
    cloud = Cloud(load())
    resources = [
        inventory.Resource("model", "m", "", now),
        inventory.Resource("training-job", "t", "InProgress", now),
        inventory.Resource("training-job", "ended", "Completed", now),
        inventory.Resource("tuning-job", "h", "InProgress", now),
    ]
    with Stubber(cloud.sagemaker) as stub:  # moto cannot stop jobs
        stub.add_client_error("stop_hyper_parameter_tuning_job", "AccessDenied", "no")
        stub.add_response("stop_training_job", {}, {"TrainingJobName": "t"})
        stub.add_client_error("delete_model", "ValidationException", "Could not find model m")
        failures = inventory.delete(cloud, resources)
        stub.assert_no_pending_responses()
    assert failures == ["tuning-job h: AccessDenied: no"]


def test_a_model_package_group_goes_with_its_versions(workplace: Path) -> None:
    cloud = Cloud(load())
    arn = f"arn:aws:sagemaker:eu-central-1:{ACCOUNT}:model-package/dogbreeds-models/1"
    version = {
        "ModelPackageArn": arn,
        "CreationTime": datetime.now(UTC),
        "ModelPackageStatus": "Completed",
    }
    group = inventory.Resource("model-package-group", "dogbreeds-models", "", datetime.now(UTC))
    with Stubber(cloud.sagemaker) as stub:  # moto cannot delete versions
        stub.add_response("list_model_packages", {"ModelPackageSummaryList": [version]})
        stub.add_response("delete_model_package", {}, {"ModelPackageName": arn})
        stub.add_response(
            "delete_model_package_group", {}, {"ModelPackageGroupName": "dogbreeds-models"}
        )
        assert inventory.delete(cloud, [group]) == []
        stub.assert_no_pending_responses()
