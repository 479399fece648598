"""`dogbreeds deploy`: requests, updates, scaling, the test at the end, and doing it twice."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from dogbreeds.cloud import drivers
from dogbreeds.cloud.aws import Cloud, CloudError
from dogbreeds.cloud.endpoints import deploy as endpoints
from dogbreeds.cloud.endpoints import predict
from dogbreeds.cloud.endpoints.config import ensure_config
from dogbreeds.cloud.settings_sources import load
from helpers.control_plane import ACCOUNT, ANSWER, REGION, Calls, Result, Runtime, assert_golden

Run = Callable[..., Result]
MODEL = "s3://dog-bucket/m/model.tar.gz"
OTHER = "s3://dog-bucket/n/model.tar.gz"
THREE, FOUR = "al2-ami-sagemaker-inference-gpu-3-1", "al2023-ami-sagemaker-inference-gpu-4-1"
TAGS = [{"Key": "dogbreeds:project", "Value": "dogbreeds"}]


@pytest.mark.parametrize(
    ("golden", "flags"),
    [
        (
            "deploy",
            ("--instance-count=2", "--capture-percent=20", "--kms-key=key-1",
             "--isolation", f"--challenger={OTHER}@0.1"),
        ),
        ("deploy_shadow", (f"--shadow={OTHER}@0.5",)),
        ("deploy_serverless", ("--kind=serverless", "--memory-mb=3072", "--flavor=cpu")),
        (
            "deploy_async",
            ("--kind=async", "--subnets=subnet-1,subnet-2", "--security-groups=sg-1"),
        ),
    ],
)  # fmt: skip
def test_a_dry_run_prints_every_request(
    dogbreeds: Run, golden: str, flags: tuple[str, ...]
) -> None:
    result = dogbreeds("deploy", MODEL, "--dry-run", "--json", *flags)
    assert result.code == 0
    assert_golden(golden, json.loads(result.out))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((f"--shadow={OTHER}@2",), "a share of 0 to 1"),
        (("--challenger=x",), "expected MODEL@SHARE"),
        ((f"--shadow={OTHER}@1", f"--challenger={OTHER}@0.1"), "no challenger with it"),
        (("--kind=serverless", "--isolation"), "no network isolation"),
        (("--kind=serverless", "--memory-mb=1500"), "multiple of 1024"),
        (("--kind=serverless",), "a serverless endpoint has no GPU"),
        (("--kind=serverless", "--flavor=cpu", "--max-instances=3"), "scales by itself"),
        (("--update=linear", "--step-percent=5"), "expected at least 10 for update linear"),
        (("--scale-to-zero",), "needs kind async"),
        (("--kind=async", "--capture-percent=1"), "need endpoint.kind real-time"),
        (("--instance-count=3", "--max-instances=2"), "at least endpoint.instance_count"),
        (("--kind=multi-model", "--instance-type=ml.g5.xlarge"), "needs a CPU instance"),
        (("--role=",), "aws.role is not set"),
    ],
)
def test_an_impossible_endpoint_is_refused(
    dogbreeds: Run, flags: tuple[str, ...], message: str, calls: Calls
) -> None:
    result = dogbreeds("deploy", MODEL, *flags)
    assert result.code == 2
    assert message in result.err
    assert not calls


def test_deploy_makes_tests_and_scales_an_endpoint(
    dogbreeds: Run, aws: boto3.Session, runtime: Runtime
) -> None:
    result = dogbreeds("deploy", MODEL, "--max-instances=4")
    assert result.code == 0
    assert "069  French_bulldog  90.0%" in result.out
    assert f"dogbreeds predict PHOTO --region {REGION} --name dogbreeds" in result.err
    client = aws.client("sagemaker")
    assert client.describe_endpoint(EndpointName="dogbreeds")["EndpointStatus"] == "InService"
    scaling = aws.client("application-autoscaling")
    [target] = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
    [policy] = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    tracking = policy["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == 600

    assert dogbreeds("deploy", MODEL).code == 0  # now without scaling
    assert not scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]


def test_deploying_the_same_again_changes_nothing(
    dogbreeds: Run, aws: boto3.Session, runtime: Runtime, calls: Calls
) -> None:
    dogbreeds("deploy", MODEL)
    calls.clear()
    result = dogbreeds("deploy", MODEL)
    assert result.code == 0
    assert "has this configuration already" in result.err
    assert not [operation for _, operation, _ in calls if operation.startswith(("Create", "Upd"))]


def test_a_multi_model_endpoint_serves_a_folder_and_is_tested_with_one_of_its_models(
    dogbreeds: Run, aws: boto3.Session, runtime: Runtime, calls: Calls
) -> None:
    aws.client("s3").put_object(Bucket="dog-bucket", Key="models/a.tar.gz", Body=b"x")
    result = dogbreeds("deploy", "s3://dog-bucket/models/", "--kind=multi-model")
    assert result.code == 0, result.err
    [model] = calls.of("CreateModel")
    container = model["PrimaryContainer"]
    assert (container["Mode"], container["ModelDataUrl"]) == (
        "MultiModel",
        "s3://dog-bucket/models/",
    )
    assert calls.of("InvokeEndpoint")[0]["TargetModel"] == "a.tar.gz"
    assert "--kind multi-model --target-model NAME" in result.err
    refused = dogbreeds("deploy", MODEL, "--kind=multi-model")
    assert "expected the folder of a multi-model endpoint's artifacts" in refused.err


def test_an_endpoint_that_answers_nonsense_fails_the_test(
    dogbreeds: Run, aws: boto3.Session, runtime: Runtime
) -> None:
    runtime.answer = "woof"
    result = dogbreeds("deploy", MODEL)
    assert result.code == 1
    assert "is in service but refuses plain.jpg: expected a JSON answer" in result.err


def test_somebody_elses_endpoint_is_left_alone(dogbreeds: Run, aws: boto3.Session) -> None:
    client = aws.client("sagemaker")
    client.create_model(
        ModelName="m", ExecutionRoleArn=f"arn:aws:iam::{ACCOUNT}:role/x",
        PrimaryContainer={"Image": "x"},
    )  # fmt: skip
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large",
               "InitialInstanceCount": 1}  # fmt: skip
    client.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    client.create_endpoint(EndpointName="dogbreeds", EndpointConfigName="c")
    result = dogbreeds("deploy", MODEL)
    assert result.code == 1
    assert "was not made by this project" in result.err


def test_a_job_is_deployed_by_its_name(dogbreeds: Run, aws: boto3.Session, calls: Calls) -> None:
    dogbreeds("train", "--name=dogbreeds-job-1", "--no-wait")
    job = aws.client("sagemaker").describe_training_job(TrainingJobName="dogbreeds-job-1")
    assert dogbreeds("deploy", "dogbreeds-job-1", "--no-wait").code == 0
    [model] = calls.of("CreateModel")
    assert model["PrimaryContainer"]["ModelDataUrl"] == job["ModelArtifacts"]["S3ModelArtifacts"]


def test_a_job_that_does_not_exist_is_named(dogbreeds: Run, aws: boto3.Session) -> None:
    result = dogbreeds("deploy", "dogbreeds-job-1")
    assert result.code == 1
    assert "no training or tuning job dogbreeds-job-1" in result.err


def stubbed_update(stub: Stubber, expected: dict[str, Any]) -> None:
    """Answer as an account where the endpoint runs another configuration."""
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/dogbreeds"
    now = datetime.now(UTC)
    stub.add_response(
        "describe_endpoint",
        {"EndpointName": "dogbreeds", "EndpointArn": arn, "EndpointConfigName": "old",
         "EndpointStatus": "InService", "CreationTime": now, "LastModifiedTime": now},
    )  # fmt: skip
    stub.add_response("list_tags", {"Tags": TAGS}, {"ResourceArn": arn})
    model = {"CreationTime": now, "ModelArn": arn, "ModelName": "m"}
    stub.add_response("describe_model", model)
    config = {"EndpointConfigName": "c", "EndpointConfigArn": arn, "CreationTime": now}
    stub.add_response("describe_endpoint_config", {**config, "ProductionVariants": [
        {"VariantName": "main"}]})  # fmt: skip
    stub.add_response("update_endpoint", {"EndpointArn": arn}, expected)


@pytest.mark.parametrize(
    ("flags", "routing"),
    [
        ({}, {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 300}),
        (
            {"endpoint.update": "canary", "endpoint.step_percent": "20"},
            {"Type": "CANARY", "WaitIntervalInSeconds": 300,
             "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 20}},
        ),
        (
            {"endpoint.update": "linear", "endpoint.bake_seconds": "60"},
            {"Type": "LINEAR", "WaitIntervalInSeconds": 60,
             "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 10}},
        ),
    ],
)  # fmt: skip
def test_a_new_version_takes_over_as_asked_and_rolls_back_on_alarms(
    workplace: Path, flags: dict[str, str], routing: dict[str, Any]
) -> None:
    settings = load(
        flags={**flags, "endpoint.alarms": "errors,latency", "endpoint.monitoring": "false"}
    )
    cloud = Cloud(settings)
    config = ensure_config(Cloud(settings, dry_run=True), MODEL, None, None)
    expected = {
        "EndpointName": "dogbreeds",
        "EndpointConfigName": config,
        "DeploymentConfig": {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": routing,
                "TerminationWaitInSeconds": routing["WaitIntervalInSeconds"],
            },
            "AutoRollbackConfiguration": {
                "Alarms": [{"AlarmName": "errors"}, {"AlarmName": "latency"}]
            },
        },
    }
    with Stubber(cloud.sagemaker) as stub:
        stubbed_update(stub, expected)
        assert endpoints.deploy(cloud, MODEL) == config
        stub.assert_no_pending_responses()


def test_an_update_leaves_the_number_of_instances_to_the_scaling(workplace: Path) -> None:
    options = endpoints._update_options(load(flags={"endpoint.max_instances": "4"}))
    assert options["RetainAllVariantProperties"] is True


@pytest.mark.parametrize(
    ("status", "config", "message"),
    [
        ("Failed", "new", "endpoint dogbreeds is Failed: out of memory"),
        ("InService", "old", "back at its former version: out of memory"),
    ],
)
def test_a_failed_deployment_tells_the_reason_and_the_last_lines(
    aws: boto3.Session, status: str, config: str, message: str
) -> None:
    logs = aws.client("logs")
    group = "/aws/sagemaker/Endpoints/dogbreeds"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="main/i-1")
    now = int(1000 * datetime.now(UTC).timestamp())
    events = [{"timestamp": now, "message": "the container's last word"}]
    logs.put_log_events(logGroupName=group, logStreamName="main/i-1", logEvents=events)
    cloud = Cloud(load())
    with Stubber(cloud.sagemaker) as stub:
        moment = datetime.now(UTC)
        stub.add_response(
            "describe_endpoint",
            {"EndpointName": "dogbreeds", "EndpointArn": "arn:aws:sagemaker:x:1:endpoint/dogs",
             "EndpointConfigName": config, "EndpointStatus": status, "CreationTime": moment,
             "LastModifiedTime": moment, "FailureReason": "out of memory"},
        )  # fmt: skip
        with pytest.raises(CloudError, match=message) as raised:
            endpoints.wait(cloud, "new")
    assert "the container's last word" in str(raised.value)


@pytest.mark.parametrize(
    ("instance_type", "base", "ami"),
    [
        ("ml.g5.xlarge", "nvcr.io/nvidia/pytorch:25.03-py3", THREE),
        ("ml.p5.48xlarge", "nvcr.io/nvidia/pytorch:25.04-py3", THREE),  # its default, 535, ended
        ("ml.p5e.48xlarge", "nvcr.io/nvidia/pytorch:25.04-py3", None),  # 550 is its default
        ("ml.g7e.2xlarge", "nvcr.io/nvidia/pytorch:25.04-py3", None),  # Blackwell: 570 or later
        ("ml.p6-b200.48xlarge", "nvcr.io/nvidia/pytorch:25.12-py3", FOUR),
        ("ml.g5.xlarge", "", THREE),  # nothing is known: a GPU image counts as CUDA 12
        ("ml.g5.xlarge", "nvidia/cuda:13.0.1-runtime-ubuntu24.04", FOUR),
        ("ml.g5.xlarge", "nvcr.io/nvidia/pytorch:25.08-py3", FOUR),
        ("ml.p5e.48xlarge", "nvcr.io/nvidia/pytorch:26.09-py3", FOUR),
        ("ml.g4dn.xlarge", "nvcr.io/nvidia/pytorch:22.12-py3", None),  # CUDA 11
        ("ml.m5.large", "nvcr.io/nvidia/pytorch:25.08-py3", None),
        ("ml.g5.xlarge", "dogbreeds-base:cpu", None),
    ],
)  # fmt: skip
def test_the_host_image_fits_the_images_cuda(
    instance_type: str, base: str, ami: str | None
) -> None:
    assert drivers.endpoint_ami(instance_type, drivers.cuda_of_base(base)) == ami


def test_a_gpu_image_gets_its_host_image(dogbreeds: Run, workplace: Path) -> None:
    entry = {"uri": "x@sha256:1", "tags": [], "base": "nvcr.io/nvidia/pytorch:25.04-py3"}
    Path(".dogbreeds").mkdir()
    Path(".dogbreeds/images.json").write_text(json.dumps({"gpu": {"serving": entry}}))
    result = dogbreeds(
        "deploy", MODEL, "--dry-run", "--json", "--serving-uri=", "--instance-type=ml.g5.xlarge"
    )
    [config] = [r["CreateEndpointConfig"] for r in json.loads(result.out) if "Config" in str([*r])]
    assert config["ProductionVariants"][0]["InferenceAmiVersion"].endswith("-gpu-3-1")


def test_volumes_of_instances_with_disks_of_their_own_get_no_key(dogbreeds: Run) -> None:
    for instance_type, has_key in (("ml.g5.xlarge", False), ("ml.m5.large", True)):
        out = dogbreeds("deploy", MODEL, "--dry-run", "--json", "--kms-key=k",
                        f"--instance-type={instance_type}").out  # fmt: skip
        [config] = [r for r in json.loads(out) if "CreateEndpointConfig" in r]
        assert ("KmsKeyId" in config["CreateEndpointConfig"]) is has_key


def photo(path: Path, content: bytes = b"\xff\xd8 a photo") -> Path:
    path.write_bytes(content)
    return path


def test_predict_prints_a_line_a_photo(dogbreeds: Run, runtime: Runtime, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.png", "notes.txt"):
        photo(folder / name)
    photo(folder / "c.jpg", b"\xff refuse me")
    result = dogbreeds("predict", str(folder))
    assert result.code == 1
    assert result.out.splitlines() == [
        f"{folder}/a.jpg  069  French_bulldog  90.0%",
        f"{folder}/b.png  069  French_bulldog  90.0%",
        f"{folder}/c.jpg  refused: not a photo",
    ]
    assert "3/3" in result.err


def test_predict_prints_json_lines(dogbreeds: Run, runtime: Runtime, tmp_path: Path) -> None:
    result = dogbreeds("predict", str(photo(tmp_path / "a.jpg")), "--json")
    assert result.code == 0
    assert json.loads(result.out) == {"photo": f"{tmp_path}/a.jpg", **ANSWER}


def test_an_endpoint_that_is_not_there_is_no_bad_photo(
    dogbreeds: Run, runtime: Runtime, tmp_path: Path
) -> None:
    result = dogbreeds("predict", str(photo(tmp_path / "a.jpg")), "--name=other")
    assert result.code == 1
    assert "error: InvokeEndpoint: ValidationError: no /endpoints/dogbreeds-other" in result.err


def test_predict_refuses_paths_without_photos(dogbreeds: Run, tmp_path: Path) -> None:
    assert "no such photo" in dogbreeds("predict", "nowhere.jpg").err
    (tmp_path / "empty").mkdir()
    assert "no photos in" in dogbreeds("predict", str(tmp_path / "empty")).err


def test_an_asynchronous_endpoint_answers_through_the_bucket(
    aws: boto3.Session, tmp_path: Path
) -> None:
    cloud = Cloud(load(flags={"endpoint.kind": "async"}))
    s3 = aws.client("s3")
    s3.put_object(Bucket="dog-bucket", Key="answer", Body=json.dumps(ANSWER).encode())
    runtime = cloud.client("sagemaker-runtime")
    with Stubber(runtime) as stub:
        stub.add_response("invoke_endpoint_async", {"OutputLocation": "s3://dog-bucket/answer"})
        prediction = predict._ask_async(
            cloud, runtime, photo(tmp_path / "a.jpg"), {"EndpointName": "dogbreeds"}
        )
    assert prediction.answer == ANSWER
    [stored] = s3.list_objects_v2(Bucket="dog-bucket", Prefix="dogbreeds/async/")["Contents"]
    assert s3.get_object(Bucket="dog-bucket", Key=stored["Key"])["Body"].read().startswith(b"\xff")
