"""Script mode as the SageMaker SDK v2 prepares it: its archive on S3, run by the real `train`."""

import subprocess
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from dogbreeds.cloud import aws as cloud_aws
from dogbreeds.local import training

pytestmark = pytest.mark.integration

URL = "https://git.example.com/team/code"
SCRIPT = """
import os, pathlib, sys
from labels import LABELS
import shared
pathlib.Path(os.environ["SM_MODEL_DIR"], "seen").write_text(
    " ".join([*sys.argv[1:], *LABELS, shared.WORD, pathlib.Path("note.txt").read_text()])
)
"""


def test_source_dir_dependencies_and_git_config_reach_the_script(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud_aws.quieten_sdk()
    from sagemaker.estimator import Estimator
    from sagemaker.session import Session

    repository, dependency = tmp_path / "repository", tmp_path / "shared"
    (repository / "src").mkdir(parents=True)
    for name, text in {
        "train.py": SCRIPT,
        "labels.py": "LABELS = ['cat', 'dog']",
        "note.txt": "of branch v1",
    }.items():
        (repository / "src" / name).write_text(text)
    dependency.mkdir()
    (dependency / "__init__.py").write_text("WORD = 'shared'")
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (["init", "-q", "-b", "v1"], ["add", "."], ["commit", "-qm", "code"]):
        subprocess.run([*git, *command], check=True)
    environment = {
        "GIT_CONFIG_COUNT": "1",  # git then takes the folder for the address
        "GIT_CONFIG_KEY_0": f"url.file://{repository}.insteadOf",
        "GIT_CONFIG_VALUE_0": URL,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        environment["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        estimator = Estimator(
            image_uri="123456789012.dkr.ecr.eu-west-1.amazonaws.com/dogbreeds-training:1",
            role="arn:aws:iam::123456789012:role/x",
            instance_count=1,
            instance_type="ml.m5.large",
            entry_point="train.py",
            source_dir="src",
            dependencies=[str(dependency)],
            git_config={"repo": URL, "branch": "v1"},
            hyperparameters={"depth": 3},
            sagemaker_session=Session(boto3.Session(), default_bucket="code"),
        )
        estimator._prepare_for_training("job-1")
        tree = tmp_path / "ml"
        training.make_tree(tree, sample, estimator.hyperparameters())
        process = training.start(tree, subprocess.PIPE)
        try:
            output, _ = process.communicate(timeout=240)
        finally:
            training.stop(process)
    finally:
        moto.stop()
    assert process.returncode == 0, output.decode()
    assert (tree / "model" / "seen").read_text() == "--depth 3 cat dog shared of branch v1"
