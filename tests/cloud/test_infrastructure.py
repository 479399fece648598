"""Terraform, CloudFormation and the workflow say what the policies and the command line say."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dogbreeds.cloud.settings_sources import load
from helpers.control_plane import Result

Run = Callable[..., Result]
ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "iam" / "cloudformation" / "dogbreeds.yaml"
TERRAFORM = ROOT / "iam" / "terraform"
WORKFLOW = ROOT / "examples" / "github-actions" / "dogbreeds.yml"
PLACEHOLDERS = {
    "${AWS::Partition}": "aws", "${AWS::AccountId}": "ACCOUNT", "${AWS::Region}": "REGION",
    "${BucketName}": "BUCKET", "${KmsKey}": "KEY",
}  # fmt: skip


def resolved(value: Any) -> Any:
    """Put the JSON files' placeholders in the place of CloudFormation's."""
    if isinstance(value, dict) and set(value) == {"Fn::Sub"}:
        text = value["Fn::Sub"]
        for theirs, ours in PLACEHOLDERS.items():
            text = text.replace(theirs, ours)
        return text
    if isinstance(value, dict):
        return {key: resolved(item) for key, item in value.items()}
    return [resolved(item) for item in value] if isinstance(value, list) else value


def policy(file: str) -> Any:
    return json.loads((ROOT / "iam" / file).read_text())


def test_cloudformation_has_the_policies_of_the_files() -> None:
    resources = yaml.safe_load(TEMPLATE.read_text())["Resources"]
    for resource, file in (("JobRole", "job-role.json"), ("EndpointRole", "endpoint-role.json")):
        role = resources[resource]["Properties"]
        assert resolved(role["AssumeRolePolicyDocument"]) == policy("trust.json")
        assert resolved(role["Policies"][0]["PolicyDocument"]) == policy(file)
    for resource, file in (("NetworkPolicy", "network.json"), ("KmsPolicy", "kms.json")):
        assert resolved(resources[resource]["Properties"]["PolicyDocument"]) == policy(file)


def test_cloudformation_passes_its_linter() -> None:
    program = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([program, TEMPLATE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_terraform_is_formatted_and_reads_the_files() -> None:
    text = (TERRAFORM / "main.tf").read_text()
    for file in re.findall(r'"([a-z-]+\.json)"', text):
        assert (ROOT / "iam" / file).is_file()
    if not shutil.which("terraform"):
        pytest.skip("terraform is not on the PATH: its formatter was not run")
    command = ["terraform", "fmt", "-check", "-diff", str(TERRAFORM)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_both_name_what_the_settings_need(tmp_path: Path) -> None:
    settings = (TERRAFORM / "main.tf").read_text().split('value = join("\\n", [')[1].split("])")[0]
    lines = [line.strip().rstrip(",")[1:-1] for line in settings.strip().splitlines()]
    text = "\n".join(lines).replace('\\"', '"')
    for reference, value in (
        ('${aws_iam_role.role["job"].arn}', "arn:aws:iam::123456789012:role/a"),
        ('${aws_iam_role.role["endpoint"].arn}', "arn:aws:iam::123456789012:role/b"),
        ("${data.aws_region.here.name}", "eu-central-1"),
        ("${aws_s3_bucket.data.id}", "dog-bucket"),
        ("${aws_sns_topic.alarms.arn}", "arn:aws:sns:eu-central-1:123456789012:t"),
    ):
        text = text.replace(reference, value)
    file = tmp_path / "dogbreeds.toml"
    file.write_text(text)
    assert load(file, {}).endpoint.alarm_topic.endswith(":t")


def steps() -> list[dict[str, Any]]:
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def test_the_workflows_commands_have_their_verbs_and_flags(dogbreeds: Run) -> None:
    commands = [
        shlex.split(found)
        for step in steps()
        for found in re.findall(r"\.venv/bin/dogbreeds ([^|)\n]+)", step.get("run", ""))
    ]
    assert {command[0] for command in commands} == {
        "push", "doctor", "train", "register", "deploy"
    }  # fmt: skip
    for command in commands:
        help_text = dogbreeds(command[0], "--help").out
        for flag in (word for word in command if word.startswith("--")):
            assert flag in help_text, command


@pytest.mark.parametrize(("reached", "code"), [(0.85, 0), (0.79, 1)])
def test_the_workflows_gate_reads_what_train_prints(
    tmp_path: Path, reached: float, code: int
) -> None:
    [gate] = [step["run"] for step in steps() if step.get("name") == "Gate on the accuracy"]
    script = gate.split("<<'PYTHON'\n")[1].split("\nPYTHON")[0]
    (tmp_path / "job.json").write_text(json.dumps({"metrics": {"valid_accuracy": reached}}))
    done = subprocess.run([sys.executable, "-c", script, "0.80"], cwd=tmp_path, check=False)
    assert done.returncode == code


def test_the_workflow_passes_its_linter() -> None:
    if not shutil.which("actionlint"):
        pytest.skip("actionlint is not on the PATH")
    done = subprocess.run(["actionlint", WORKFLOW], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
