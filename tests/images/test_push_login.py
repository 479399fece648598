"""Logging in to a registry that wants a password, without leaving it anywhere."""

from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from dogbreeds.cloud.images.ecr import docker_credentials
from helpers.containers import registry_process, run

pytestmark = pytest.mark.images

USER, PASSWORD = "AWS", 'a-token-with-"quotes"-%s'


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    secret = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (tmp_path / "htpasswd").write_text(f"{USER}:{secret}\n")
    auth = {"htpasswd": {"realm": "dogs", "path": str(tmp_path / "htpasswd")}}
    with registry_process(tmp_path, auth=auth) as address:
        yield address


def test_the_login_lasts_for_the_push_and_leaves_nothing(registry: str, tiny_image: str) -> None:
    refused = run("docker/push", registry, tiny_image, check=False)
    assert refused.returncode != 0
    assert "no basic auth credentials" in refused.stdout

    with docker_credentials(registry, USER, PASSWORD) as environment:
        pushed = run("docker/push", registry, tiny_image, timeout=120, check=True, **environment)
        files = [path for path in Path(environment["DOCKER_CONFIG"]).iterdir() if path.is_file()]
        on_disk = "".join(path.read_text() for path in files)
    assert f"{registry}/dogbreeds-tiny@sha256:" in pushed.stdout
    assert "credHelpers" in on_disk
    assert PASSWORD not in on_disk

    again = run("docker/push", registry, tiny_image, check=False)
    assert "no basic auth credentials" in again.stdout
    run("docker", "image", "rm", f"{registry}/{tiny_image}")
