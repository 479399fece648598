"""`dogbreeds doctor`: each thing that would fail on AWS is found, named, and has a remedy."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from botocore.stub import Stubber

from dogbreeds.cloud import doctor, drivers
from dogbreeds.cloud.aws import Cloud
from dogbreeds.model import artifact
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.networks import create_model
from dogbreeds.model.preprocessing import Preprocessing
from helpers import policies
from helpers.control_plane import ACCOUNT, REGISTRY, Result, put_image

Run = Callable[..., Result]
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"},
         "Action": "sts:AssumeRole"}
    ],
}  # fmt: skip
DIGEST = f"sha256:{'2' * 64}"


@pytest.fixture
def quotas() -> dict[str, float]:
    return {"ml.g5.xlarge for training job usage": 1, "ml.m5.large for endpoint usage": 4}


@pytest.fixture
def denied() -> set[str]:
    """Actions that the role may not do."""
    return set()


@pytest.fixture
def healthy(
    aws: boto3.Session, quotas: dict[str, float], denied: set[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[boto3.Session]:
    """An account where everything is as it must be. moto has no simulator and no such quotas."""
    for role in ("job", "endpoint"):
        aws.client("iam").create_role(
            RoleName=f"dogbreeds-{role}", AssumeRolePolicyDocument=json.dumps(TRUST)
        )
    set_in_file(aws__endpoint_role=f'"arn:aws:iam::{ACCOUNT}:role/dogbreeds-endpoint"')
    for repository in ("dogbreeds-training", "dogbreeds-serving"):
        aws.client("ecr").create_repository(repositoryName=repository)
        put_image(aws, repository, "0.1.0-gpu", DIGEST)
    path = Path("dogbreeds.toml")
    for which in ("training", "serving"):
        uri = f'{which}_uri = "{REGISTRY}/dogbreeds-{which}@{DIGEST}"'
        lines = path.read_text().splitlines()
        path.write_text("\n".join(uri if x.startswith(f"{which}_uri") else x for x in lines) + "\n")

    make_client = Cloud.client

    def client(cloud: Cloud, service: str) -> Any:
        made = make_client(cloud, service)
        if service == "service-quotas":
            stub = Stubber(made)
            page = [{"QuotaName": name, "Value": value} for name, value in quotas.items()]
            stub.add_response("list_service_quotas", {"Quotas": page}, {"ServiceCode": "sagemaker"})
            stub.activate()
        if service == "iam":

            def simulate(**request: Any) -> dict[str, Any]:
                [action], [resource] = request["ActionNames"], request["ResourceArns"]
                role = request["PolicySourceArn"].rpartition("/dogbreeds-")[2]
                allowed = policies.allows(f"{role}-role.json", action, resource)
                decision = "allowed" if allowed and action not in denied else "implicitDeny"
                return {"EvaluationResults": [{"EvalDecision": decision}]}

            made.simulate_principal_policy = simulate
        return made

    monkeypatch.setattr(Cloud, "client", client)
    yield aws


def set_in_file(**values: str) -> None:
    """Add settings, by environment-like names: section__key."""
    path = Path("dogbreeds.toml")
    text = path.read_text()
    for name, value in values.items():
        section, key = name.split("__")
        lines = [line for line in text.splitlines() if not line.startswith(f"{key} =")]
        text = "\n".join(lines) + "\n"
        if f"[{section}]" not in text:
            text += f"[{section}]\n"
        text = text.replace(f"[{section}]\n", f"[{section}]\n{key} = {value}\n")
    path.write_text(text)


def test_a_healthy_account_passes(dogbreeds: Run, healthy: boto3.Session) -> None:
    result = dogbreeds("doctor", "train")
    assert result.code == 0, result.out
    kinds = [line.split()[1].rstrip(":") for line in result.out.splitlines()]
    assert kinds == [
        "credentials", "role", "bucket", "image", "scan", "quota", "hyperparameters", "photos"
    ]  # fmt: skip
    assert dogbreeds("doctor", "deploy").code == 0


def failure(result: Result) -> str:
    assert result.code == 1
    lines = result.out.splitlines()
    found = [i for i, line in enumerate(lines) if line.startswith("FAIL")]
    assert found, result.out
    return "\n".join(lines[i] + lines[i + 1] for i in found)


def test_no_credentials(
    dogbreeds: Run, aws: boto3.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "no AWS credentials are found" in failure(dogbreeds("doctor", "train"))


def test_a_role_that_is_missing_or_distrusts_sagemaker(
    dogbreeds: Run, healthy: boto3.Session
) -> None:
    iam = healthy.client("iam")
    other = {**TRUST, "Statement": [{**TRUST["Statement"][0], "Principal": {"AWS": "*"}}]}  # type: ignore[dict-item]
    iam.update_assume_role_policy(RoleName="dogbreeds-job", PolicyDocument=json.dumps(other))
    assert "does not trust SageMaker" in failure(dogbreeds("doctor", "train"))
    iam.delete_role(RoleName="dogbreeds-job")
    assert "role: there is no" in failure(dogbreeds("doctor", "train"))
    role = "arn:aws:iam::999999999999:role/x"
    assert "is of another account" in failure(dogbreeds("doctor", "train", "--role", role))


def test_an_endpoint_by_the_jobs_role_cannot_roll_back(
    dogbreeds: Run, healthy: boto3.Session
) -> None:
    set_in_file(aws__endpoint_role='""')
    found = failure(dogbreeds("doctor", "deploy"))
    assert "lacks cloudwatch:DescribeAlarms on *" in found
    assert "add the policy iam/endpoint-role.json" in found


def test_a_role_that_may_not_write(
    dogbreeds: Run, healthy: boto3.Session, denied: set[str]
) -> None:
    denied.add("s3:PutObject")
    assert "lacks s3:PutObject on" in failure(dogbreeds("doctor", "train"))


def test_a_bucket_that_is_missing_or_elsewhere(dogbreeds: Run, healthy: boto3.Session) -> None:
    assert "there is no no-bucket" in failure(dogbreeds("doctor", "train", "--bucket", "no-bucket"))
    healthy.client("s3", region_name="us-east-1").create_bucket(Bucket="far-bucket")
    set_in_file(training__data='"s3://far-bucket/photos"')
    assert "far-bucket is in us-east-1" in failure(dogbreeds("doctor", "train"))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("registry.example/dogs@sha256:1", "is not in ECR"),
        (f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/x@sha256:1", "is in us-east-1"),
        (f"{REGISTRY}/dogbreeds-training@sha256:{'f' * 64}", "image: there is no"),
    ],
)
def test_an_image_that_cannot_be_pulled(
    dogbreeds: Run, healthy: boto3.Session, uri: str, message: str
) -> None:
    assert message in failure(dogbreeds("doctor", "train", "--training-uri", uri))


def test_a_manifest_type_that_sagemaker_refuses(dogbreeds: Run, healthy: boto3.Session) -> None:
    client = healthy.client("ecr")
    answer = client.put_image(
        repositoryName="dogbreeds-training",
        imageTag="oci",
        imageManifestMediaType="application/vnd.oci.image.index.v1+json",
        imageManifest=json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [],
        }),
    )  # fmt: skip
    digest = answer["image"]["imageId"]["imageDigest"]
    uri = f"{REGISTRY}/dogbreeds-training@{digest}"
    found = failure(dogbreeds("doctor", "train", "--training-uri", uri))
    assert "Unsupported manifest media type" in found


def test_a_quota_of_nought(
    dogbreeds: Run, healthy: boto3.Session, quotas: dict[str, float]
) -> None:
    quotas["ml.g5.xlarge for training job usage"] = 0
    assert "training job usage: 0, needed 1" in failure(dogbreeds("doctor", "train"))
    set_in_file(training__spot="true")
    assert "note  quota: none named 'ml.g5.xlarge for spot" in dogbreeds("doctor", "train").out


def test_doctor_takes_the_flags_of_the_command_that_it_checks(
    dogbreeds: Run, healthy: boto3.Session
) -> None:
    assert "no-bucket" in failure(dogbreeds("doctor", "train", "--data", "s3://no-bucket/photos"))
    assert "did you mean epochs" in dogbreeds("doctor", "train", "--set", "epoch=1").err
    found = failure(dogbreeds("doctor", "deploy", "--update=linear", "--step-percent=5"))
    assert "expected at least 10 for update linear" in found
    assert "expected at most 100" in failure(dogbreeds("doctor", "transform", "--concurrency=50"))


def test_channels_that_are_empty_or_too_big(
    dogbreeds: Run, healthy: boto3.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_in_file(training__weights='"s3://dog-bucket/weights"')
    found = failure(dogbreeds("doctor", "train"))
    assert "channel weights: nothing is in s3://dog-bucket/weights" in found
    set_in_file(training__weights='""', training__volume_gb="1")
    monkeypatch.setattr(doctor, "_DISK_SHARE", 2e-9)  # of a GB: 2 bytes, and there are 3
    assert "ok    photos" in dogbreeds("doctor", "train").out  # g5 has a disk of its own
    set_in_file(training__instance_type='"ml.c5.xlarge"')
    assert "raise training.volume_gb" in failure(dogbreeds("doctor", "train"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.hyperparameters__model": '"mobilenet_v2"'}, "only those of resnet18"),
        ({"training.hyperparameters__weights": '"a.pth"'}, "comes by the channel"),
        ({"training.hyperparameters__epoch": "1"}, "did you mean epochs"),
        ({"images__flavor": '"cpu"'}, "a CPU image on ml.g5.xlarge"),
    ],
)
def test_a_job_that_cannot_work(
    dogbreeds: Run, healthy: boto3.Session, settings: dict[str, str], message: str
) -> None:
    set_in_file(**settings)
    assert message in failure(dogbreeds("doctor", "train"))


def pushed_with(base: str) -> None:
    entry = {"uri": f"{REGISTRY}/dogbreeds-serving@{DIGEST}", "tags": [], "base": base}
    Path(".dogbreeds").mkdir()
    Path(".dogbreeds/images.json").write_text(json.dumps({"gpu": {"serving": entry}}))


def test_a_host_image_that_is_too_old(dogbreeds: Run, healthy: boto3.Session) -> None:
    pushed_with("nvcr.io/nvidia/pytorch:25.08-py3")
    set_in_file(endpoint__instance_type='"ml.g5.xlarge"')
    assert "CUDA 13.0 on al2023-ami-sagemaker-inference-gpu-4-1 (580)" in (
        dogbreeds("doctor", "deploy").out
    )
    set_in_file(endpoint__ami_version='"al2-ami-sagemaker-inference-gpu-2-1"')
    assert "CUDA 13.0 needs driver 580" in failure(dogbreeds("doctor", "deploy"))
    set_in_file(transform__instance_type='"ml.g5.xlarge"')
    found = failure(dogbreeds("doctor", "transform"))
    assert "batch-gpu-535 has 535" in found
    assert f"build on an older CUDA (BASE_IMAGE={drivers.DEFAULT_BASE})" in found


@pytest.mark.parametrize(
    ("instance_type", "base", "ami", "message"),
    [
        ("ml.g7e.2xlarge", "nvcr.io/nvidia/pytorch:24.06-py3", "", "support Blackwell GPUs"),
        ("ml.g5.xlarge", "nvcr.io/nvidia/pytorch:25.04-py3",
         "al2023-ami-sagemaker-inference-gpu-4-1", "were seen to hang on al2023"),
    ],
)  # fmt: skip
def test_a_host_that_does_not_go_with_the_images_cuda(
    dogbreeds: Run, healthy: boto3.Session, instance_type: str, base: str, ami: str, message: str
) -> None:
    pushed_with(base)
    set_in_file(endpoint__instance_type=f'"{instance_type}"', endpoint__ami_version=f'"{ami}"')
    assert message in failure(dogbreeds("doctor", "deploy"))


def test_what_the_scan_of_the_image_found_is_told(
    dogbreeds: Run, healthy: boto3.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {
        "imageScanStatus": {"status": "COMPLETE"},
        "imageScanFindings": {"findingSeverityCounts": {"HIGH": 3, "LOW": 1}},
    }
    make_client = Cloud.client

    def client(cloud: Cloud, service: str) -> Any:
        made = make_client(cloud, service)
        if service == "ecr":
            made.describe_image_scan_findings = lambda **_: answer
        return made

    monkeypatch.setattr(Cloud, "client", client)
    out = dogbreeds("doctor", "train").out
    assert "note  scan of dogbreeds-training: 3 HIGH, 1 LOW" in out


def test_a_gpu_image_on_a_serverless_endpoint(dogbreeds: Run, healthy: boto3.Session) -> None:
    set_in_file(endpoint__kind='"serverless"')
    assert "a serverless endpoint has no GPU" in failure(dogbreeds("doctor", "deploy"))


def test_an_archive_is_read(dogbreeds: Run, healthy: boto3.Session, tmp_path: Path) -> None:
    torch.manual_seed(0)
    classes = (PhotoClass("001", "A"), PhotoClass("002", "B"))
    made = artifact.Artifact(create_model("squeezenet1_1", 2), "squeezenet1_1", classes,
                             Preprocessing(image_size=64))  # fmt: skip
    artifact.save(made, tmp_path / "model")
    artifact.pack(tmp_path / "model", tmp_path / "model.tar.gz")
    s3 = healthy.client("s3")
    s3.upload_file(str(tmp_path / "model.tar.gz"), "dog-bucket", "m/model.tar.gz")
    result = dogbreeds("doctor", "deploy", "s3://dog-bucket/m/model.tar.gz")
    assert "ok    artifact: squeezenet1_1, 2 classes" in result.out
    s3.put_object(Bucket="dog-bucket", Key="m/model.tar.gz", Body=b"no archive")
    found = failure(dogbreeds("doctor", "deploy", "s3://dog-bucket/m/model.tar.gz"))
    assert "cannot read the model archive s3://dog-bucket/m/model.tar.gz" in found
    found = failure(dogbreeds("doctor", "deploy", "s3://dog-bucket/n/model.tar.gz"))
    assert "artifact: there is no" in found
