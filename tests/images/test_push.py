"""Pushing to a real registry. The images themselves are gigabytes: a tiny one stands for them,
built by the same docker/buildx."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.containers import registry_process, run

pytestmark = pytest.mark.images

SAGEMAKER_TAKES = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with registry_process(tmp_path) as address:
        yield f"{address}/team"


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
