"""Pushing to a real registry. The images themselves are gigabytes: a tiny one stands for them,
built by the same docker/buildx."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import run

pytestmark = pytest.mark.images

SAGEMAKER_TAKES = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("docker-registry")
    if program is None:
        assert not os.environ.get("CI"), "docker-registry is not on the PATH"
        pytest.skip("needs docker-registry (Debian's package of that name)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": address},
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
        yield f"{address}/team"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def tiny_image(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    tag = f"dogbreeds-tiny:test-{os.getpid()}"
    run("docker/buildx", "--tag", tag, str(tmp_path))
    yield tag
    run("docker", "image", "rm", tag)


def test_a_pushed_image_has_the_manifest_sagemaker_takes_and_comes_back_by_digest(
    registry: str, tiny_image: str
) -> None:
    pushed = run("docker/push", registry, tiny_image).stdout.split()[-1]
    name, _, digest = pushed.partition("@")
    assert name == f"{registry}/{tiny_image.split(':')[0]}"

    host, path = name.split("/", 1)
    request = urllib.request.Request(
        f"http://{host}/v2/{path}/manifests/{digest}",
        headers={"Accept": f"{SAGEMAKER_TAKES}, application/vnd.oci.image.index.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.headers["Content-Type"] == SAGEMAKER_TAKES
        layers = json.load(response)["layers"]
    assert {layer["mediaType"] for layer in layers} == {
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    }

    run("docker", "image", "rm", f"{registry}/{tiny_image}")
    run("docker", "pull", pushed)
    run("docker", "image", "rm", pushed)


def test_a_push_without_a_registry_says_what_is_missing(tiny_image: str) -> None:
    refused = run("docker/push", "", tiny_image, check=False)
    assert refused.returncode != 0
    assert "REGISTRY=" in refused.stdout
