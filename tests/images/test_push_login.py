"""Logging in to a registry that wants a password, without leaving it anywhere."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
from containers import run

from dogbreeds.cloud.ecr import docker_credentials

pytestmark = pytest.mark.images

USER, PASSWORD = "AWS", 'a-token-with-"quotes"-%s'


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("docker-registry")
    if program is None:
        assert not os.environ.get("CI"), "docker-registry is not on the PATH"
        pytest.skip("needs docker-registry (Debian's package of that name)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    secret = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (tmp_path / "htpasswd").write_text(f"{USER}:{secret}\n")
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": address},
        "auth": {"htpasswd": {"realm": "dogs", "path": str(tmp_path / "htpasswd")}},
    }
    (tmp_path / "config.yml").write_text(json.dumps(settings))  # JSON is YAML too
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [program, "serve", str(tmp_path / "config.yml")], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", int(address.split(":")[1]))):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def tiny_image(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    tag = f"dogbreeds-tiny:login-{os.getpid()}"
    run("docker/buildx", "--tag", tag, str(tmp_path))
    yield tag
    run("docker", "image", "rm", tag)


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
