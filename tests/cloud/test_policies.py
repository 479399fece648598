"""The policies in iam/ allow every call that is made, and each part gets no more than it needs."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from dogbreeds.cloud import inventory
from helpers import policies
from helpers.control_plane import ACCOUNT, REGION, Calls, Result

Run = Callable[..., Result]
ROOT = Path(__file__).parents[2]
HERE = f"{REGION}:{ACCOUNT}"
SERVICES = (
    "application-autoscaling", "cloudwatch", "ecr", "iam", "logs", "s3", "sagemaker",
    "sagemaker-runtime", "service-quotas", "sts",
)  # fmt: skip
HELPERS = {
    "download_file": "HeadObject",
    "upload_file": "PutObject",
}  # boto3's own, over other calls


def actions(*files: str) -> set[str]:
    """Return the actions that policies allow."""
    statements = [s for file in files for s in policies.read(file)["Statement"]]
    return {action for s in statements for action in policies.as_list(s["Action"])}


def calls_in_source() -> dict[str, set[str]]:
    """Return the actions that each call in our source may mean, by method name."""
    session = boto3.Session(region_name="eu-central-1")
    methods: dict[str, set[str]] = {}
    for service in SERVICES:
        client: Any = session.client(service, aws_access_key_id="x", aws_secret_access_key="x")
        for method, operation in client.meta.method_to_api_mapping.items():
            methods.setdefault(method, set()).add(policies.action_of(service, operation))
    methods |= {
        method: {policies.action_of("s3", operation)} for method, operation in HELPERS.items()
    }
    names = set()
    for path in (ROOT / "src" / "dogbreeds" / "cloud").rglob("*.py"):
        text = path.read_text()
        names |= set(re.findall(r"\.([a-z0-9]+_\w+)\b", text)) | set(
            re.findall(r'"([a-z]+_\w+)"', text)
        )
    return {name: methods[name] for name in names & set(methods)}


def test_every_call_in_the_source_is_allowed_by_some_policy() -> None:
    allowed = actions("build.json", "run.json", "call.json")
    found = calls_in_source()
    assert len(found) > 40
    missing = {name: wanted for name, wanted in found.items() if not wanted & allowed}
    assert not missing


def test_run_json_allows_what_the_commands_really_call_on_what_they_call_it(
    dogbreeds: Run, aws: boto3.Session, calls: Calls
) -> None:
    """By names as the README gives them: without the project."""
    model = "s3://dog-bucket/m/model.tar.gz"
    dogbreeds("train", "--name=breeds-1")
    dogbreeds("tune", "--name=breeds-2", "--no-wait")
    dogbreeds("transform", model, "s3://dog-bucket/photos/test", "--no-wait")
    dogbreeds("register", "breeds-1")
    dogbreeds("deploy", model, "--no-wait", "--max-instances=2")
    dogbreeds("list")
    dogbreeds("delete", "dogbreeds", "--yes")
    made = {
        (policies.action_of(service, operation), policies.resource_of(service, operation, given))
        for service, operation, given in calls
    }
    assert {"sagemaker:CreateHyperParameterTuningJob", "sagemaker:DeleteEndpoint"} <= {
        action for action, _ in made
    }
    refused = {(action, on) for action, on in made if not policies.allows("run.json", action, on)}
    assert not refused


@pytest.mark.parametrize(
    ("file", "action", "resource", "allowed"),
    [
        ("run.json", "ecr:DeleteRepository", f"ecr:{HERE}:repository/theirs", False),
        ("run.json", "sagemaker:StopTrainingJob", f"sagemaker:{HERE}:training-job/theirs", False),
        ("run.json", "sagemaker:UpdateEndpointWeightsAndCapacities",
         f"sagemaker:{HERE}:endpoint/dogbreeds", True),
        ("job-role.json", "s3:DeleteObject", "s3:::dog-bucket/photos/train/a.jpg", False),
        ("job-role.json", "s3:PutObject", "s3:::dog-bucket/dogbreeds/jobs/j/model.tar.gz", True),
        ("endpoint-role.json", "s3:DeleteObject", "s3:::dog-bucket/photos/train/a.jpg", False),
        ("endpoint-role.json", "s3:PutObject", "s3:::dog-bucket/photos/train/a.jpg", False),
        ("endpoint-role.json", "s3:PutObject", "s3:::dog-bucket/dogbreeds/batch/b/a.jpg.out", True),
        ("endpoint-role.json", "cloudwatch:DescribeAlarms", f"cloudwatch:{HERE}:alarm:x", True),
    ],
)  # fmt: skip
def test_policies_end_where_the_project_ends(
    file: str, action: str, resource: str, allowed: bool
) -> None:
    assert policies.allows(file, action, f"arn:aws:{resource}") is allowed


def test_only_sagemaker_of_this_account_assumes_the_roles() -> None:
    [statement] = policies.read("trust.json")["Statement"]
    assert statement["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}


def test_no_policy_allows_a_whole_service() -> None:
    for path in (ROOT / "iam").glob("*.json"):
        document = json.loads(path.read_text())
        assert document["Version"] == "2012-10-17"
        if path.name != "trust.json":
            assert not [action for action in actions(path.name) if "*" in action]


@pytest.mark.parametrize("file", ["build.json", "run.json", "call.json"])
def test_no_policy_allows_what_is_never_called(file: str) -> None:
    listed = {f"sagemaker:List{noun}s" for noun, _, _ in inventory._KINDS.values()}
    removed = {f"sagemaker:{how.title()}{noun}" for noun, _, how in inventory._KINDS.values()}
    needed = set().union(*calls_in_source().values()) | listed | removed | {
        # called by the SDK, by boto3, by Docker, or checked by AWS along with another call
        "sagemaker:CreateTrainingJob", "sagemaker:CreateHyperParameterTuningJob",
        "sagemaker:CreateModel", "sagemaker:AddTags", "s3:AbortMultipartUpload",
        "iam:PassRole", "iam:CreateServiceLinkedRole", "cloudwatch:TagResource",
        # called by scaling in the caller's name
        "sagemaker:UpdateEndpointWeightsAndCapacities", "cloudwatch:DescribeAlarms",
        "ecr:BatchCheckLayerAvailability", "ecr:CompleteLayerUpload", "ecr:GetDownloadUrlForLayer",
        "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:TagResource", "ecr:UploadLayerPart",
    }  # fmt: skip
    assert actions(file) <= needed
