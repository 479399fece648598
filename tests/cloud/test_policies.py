"""The policies in iam/ allow every call that is made, and each part gets no more than it needs."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from helpers.control_plane import Calls, Result

Run = Callable[..., Result]
ROOT = Path(__file__).parents[2]
SERVICES = (
    "application-autoscaling", "ecr", "iam", "logs", "s3", "sagemaker", "sagemaker-runtime",
    "service-quotas", "sts",
)  # fmt: skip
# Where an action has another name than the call, or than its service.
ACTIONS = {
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "sagemaker-runtime:InvokeEndpoint": "sagemaker:InvokeEndpoint",
    "sagemaker-runtime:InvokeEndpointAsync": "sagemaker:InvokeEndpointAsync",
    "service-quotas:ListServiceQuotas": "servicequotas:ListServiceQuotas",
}
HELPERS = {
    "download_file": "HeadObject",
    "upload_file": "PutObject",
}  # boto3's own, over other calls


def actions(*files: str) -> set[str]:
    """Return the actions that policies allow."""
    allowed: set[str] = set()
    for file in files:
        for statement in json.loads((ROOT / "iam" / file).read_text())["Statement"]:
            action = statement["Action"]
            allowed |= {action} if isinstance(action, str) else set(action)
    return allowed


def action_of(service: str, operation: str) -> str:
    return ACTIONS.get(f"{service}:{operation}", f"{service}:{operation}")


def called(calls: Calls) -> set[str]:
    return {action_of(service, operation) for service, operation, _ in calls}


def calls_in_source() -> dict[str, set[str]]:
    """Return the actions that each call in our source may mean, by method name."""
    session = boto3.Session(region_name="eu-central-1")
    methods: dict[str, set[str]] = {}
    for service in SERVICES:
        client: Any = session.client(service, aws_access_key_id="x", aws_secret_access_key="x")
        for method, operation in client.meta.method_to_api_mapping.items():
            methods.setdefault(method, set()).add(action_of(service, operation))
    methods |= {method: {action_of("s3", operation)} for method, operation in HELPERS.items()}
    names = set()
    for path in (ROOT / "src" / "dogbreeds" / "cloud").rglob("*.py"):
        text = path.read_text()
        names |= set(re.findall(r"\.([a-z0-9]+_\w+)\(", text)) | set(
            re.findall(r'"([a-z]+_\w+)"', text)
        )
    return {name: methods[name] for name in names & set(methods)}


def test_every_call_in_the_source_is_allowed_by_some_policy() -> None:
    allowed = actions("build.json", "run.json", "call.json")
    found = calls_in_source()
    assert len(found) > 40
    missing = {name: wanted for name, wanted in found.items() if not wanted & allowed}
    assert not missing


def test_run_json_allows_what_the_commands_really_call(
    dogbreeds: Run, aws: boto3.Session, calls: Calls
) -> None:
    model = "s3://dog-bucket/m/model.tar.gz"
    dogbreeds("train", "--name=dogbreeds-job-1")
    dogbreeds("tune", "--no-wait")
    dogbreeds("transform", model, "s3://dog-bucket/photos/test", "--no-wait")
    dogbreeds("register", "dogbreeds-job-1")
    dogbreeds("deploy", model, "--no-wait")
    dogbreeds("list")
    dogbreeds("delete", "dogbreeds", "--yes")
    made = called(calls)
    assert {"sagemaker:CreateHyperParameterTuningJob", "sagemaker:DeleteEndpoint"} <= made
    assert made <= actions("run.json")


def test_no_policy_allows_a_whole_service() -> None:
    for path in (ROOT / "iam").glob("*.json"):
        document = json.loads(path.read_text())
        assert document["Version"] == "2012-10-17"
        if path.name != "job-role-trust.json":
            assert not [action for action in actions(path.name) if "*" in action]


@pytest.mark.parametrize("file", ["build.json", "run.json", "call.json"])
def test_no_policy_allows_what_is_never_called(file: str) -> None:
    needed = set().union(*calls_in_source().values()) | {
        # called by the SDK, by boto3, by Docker, or checked by AWS along with another call
        "sagemaker:CreateTrainingJob", "sagemaker:CreateHyperParameterTuningJob",
        "sagemaker:CreateModel", "sagemaker:AddTags", "s3:AbortMultipartUpload",
        "iam:PassRole", "iam:CreateServiceLinkedRole",
        "ecr:BatchCheckLayerAvailability", "ecr:CompleteLayerUpload", "ecr:GetDownloadUrlForLayer",
        "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:TagResource", "ecr:UploadLayerPart",
    }  # fmt: skip
    assert actions(file) <= needed
