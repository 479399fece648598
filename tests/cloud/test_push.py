"""`dogbreeds push`: repositories, login and tags against moto's ECR.

Docker itself is played by a script here; tests/images pushes to a real registry.
"""

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from dogbreeds import __version__
from dogbreeds.cloud.aws import Cloud
from dogbreeds.cloud.images.ecr import ensure_repository
from dogbreeds.cloud.settings_sources import load
from helpers.control_plane import DIGEST, REGISTRY, Calls, Result, put_image

Run = Callable[..., Result]
IMAGE_ID = f"sha256:{'1' * 64}"
BASE = "nvcr.io/nvidia/pytorch:25.04-py3"

# Notes its arguments, and at a push what a registry would be told and what lies on the disk.
FAKE_DOCKER = f"""#!/bin/sh
echo "$@" >>"$FAKE_DOCKER_LOG"
case "$1 $2" in
    "context inspect") echo unix:///run/engine.sock ;;
    "image inspect")
        case "$4" in
            *RepoDigests*) echo "${{5%:*}}@{DIGEST}" ;;
            *) echo "{IMAGE_ID} {BASE}" ;;
        esac ;;
    push*)
        [ -n "$REGISTRY_CREDENTIALS" ] || exit 0
        echo registry | docker-credential-dogbreeds get >>"$FAKE_DOCKER_LOG.credentials"
        cat "$DOCKER_CONFIG"/* >>"$FAKE_DOCKER_LOG.disk"
        echo "$DOCKER_CONFIG $DOCKER_HOST" >>"$FAKE_DOCKER_LOG.engine" ;;
esac
"""


@pytest.fixture
def docker(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of the played Docker."""
    program = workplace / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(FAKE_DOCKER)
    program.chmod(0o755)
    log = workplace / "docker.log"
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_DOCKER_LOG", str(log))
    return log


@pytest.fixture
def pushed(aws: boto3.Session, docker: Path) -> None:
    """An account where both images were pushed before, by this project."""
    client = aws.client("ecr")
    for repository in ("dogbreeds-training", "dogbreeds-serving"):
        client.create_repository(
            repositoryName=repository, tags=[{"Key": "dogbreeds:project", "Value": "dogbreeds"}]
        )
        put_image(aws, repository, f"{__version__}-gpu", IMAGE_ID)


def test_repositories_are_scanned_immutable_and_keep_the_last_images(
    workplace: Path, aws: boto3.Session
) -> None:
    settings = load(flags={"images.keep": "7"})
    client = aws.client("ecr")
    for _ in range(2):  # also where it is there already
        ensure_repository(Cloud(settings).client("ecr"), settings, "dogs")
    [repository] = client.describe_repositories()["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    policy = json.loads(client.get_lifecycle_policy(repositoryName="dogs")["lifecyclePolicyText"])
    assert policy["rules"][0]["selection"]["countNumber"] == 7
    tags = client.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]
    assert {"Key": "dogbreeds:project", "Value": "dogbreeds"} in tags


def test_push_writes_digests_that_jobs_then_use(dogbreeds: Run, pushed: None) -> None:
    result = dogbreeds("push")
    assert result.code == 0
    assert result.out.splitlines() == [
        f"{REGISTRY}/dogbreeds-training@{DIGEST}",
        f"{REGISTRY}/dogbreeds-serving@{DIGEST}",
    ]
    images = json.loads(Path(".dogbreeds/images.json").read_text())
    assert images["gpu"]["serving"]["base"] == BASE
    planned = json.loads(dogbreeds("train", "--dry-run", "--json", "--training-uri=").out)
    image = planned[0]["CreateTrainingJob"]["AlgorithmSpecification"]["TrainingImage"]
    assert image == f"{REGISTRY}/dogbreeds-training@{DIGEST}"


def test_both_tags_are_pushed_but_not_again(dogbreeds: Run, pushed: None, docker: Path) -> None:
    dogbreeds("push")
    pushes = [line for line in docker.read_text().splitlines() if line.startswith("push")]
    assert len(pushes) == 2  # the version's tag was there
    assert all(":git-" in line and "-gpu" in line for line in pushes)


def test_a_version_that_is_taken_by_another_build_is_left_alone(
    dogbreeds: Run, aws: boto3.Session, docker: Path, pushed: None
) -> None:
    client = aws.client("ecr")
    image = {"imageTag": f"{__version__}-gpu"}
    client.batch_delete_image(repositoryName="dogbreeds-training", imageIds=[image])
    put_image(aws, "dogbreeds-training", f"{__version__}-gpu", f"sha256:{'9' * 64}")
    result = dogbreeds("push")
    assert result.code == 0
    assert f"dogbreeds-training:{__version__}-gpu is another build" in result.out


def test_the_token_reaches_docker_by_its_helper_only(
    dogbreeds: Run, aws: boto3.Session, pushed: None, docker: Path
) -> None:
    [data] = aws.client("ecr").get_authorization_token()["authorizationData"]
    user, token = base64.b64decode(data["authorizationToken"]).decode().split(":")
    dogbreeds("push")
    credentials = Path(f"{docker}.credentials").read_text()
    assert f'{{"Username": "{user}", "Secret": "{token}"}}' in credentials
    assert token not in docker.read_text()  # the command lines
    assert token not in Path(f"{docker}.disk").read_text()
    folder, engine = Path(f"{docker}.engine").read_text().splitlines()[0].split()
    assert engine == "unix:///run/engine.sock"
    assert not Path(folder).exists()


def test_a_repository_that_is_not_ours_keeps_its_lifecycle(
    dogbreeds: Run, aws: boto3.Session, docker: Path, calls: Calls
) -> None:
    for name in ("dogbreeds-training", "dogbreeds-serving"):
        aws.client("ecr").create_repository(repositoryName=name)
        put_image(aws, name, f"{__version__}-gpu", IMAGE_ID)
    assert dogbreeds("push").code == 0
    assert not calls.of("PutLifecyclePolicy")


def test_an_image_that_was_not_built_is_named(
    dogbreeds: Run, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docker.parent / "bin" / "docker").write_text("#!/bin/sh\necho no such image >&2; exit 1\n")
    result = dogbreeds("push", "--flavor", "cpu")
    assert result.code == 1
    assert "run make build FLAVOR=cpu" in result.err
