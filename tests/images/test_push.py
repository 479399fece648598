"""Pushing to a real registry. The images themselves are gigabytes: a tiny one stands for them,
built by the same docker/buildx."""

import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.containers import registry_process, run

pytestmark = pytest.mark.images

SAGEMAKER_TAKES = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
CYCLONEDX = "application/vnd.cyclonedx+json"


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


def test_an_sbom_is_attached_to_the_digest_and_the_tag_stays_what_sagemaker_takes(
    registry: str, tiny_image: str, tmp_path: Path
) -> None:
    sbom = tmp_path / "sbom.json"
    sbom.write_text(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6"}))
    pushed = run("docker/push", registry, tiny_image).stdout.split()[-1]
    host, _, path = pushed.partition("@")[0].partition("/")
    digest = pushed.partition("@")[2]

    def get(reference: str, accepted: str) -> tuple[str, bytes]:
        url = f"http://{host}/v2/{path}/manifests/{reference}"
        request = urllib.request.Request(url, headers={"Accept": accepted})
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.headers["Docker-Content-Digest"], response.read()

    def attach(image: str, file: Path, *, check: bool = True) -> str:
        command = (sys.executable, "docker/attach-sbom", image, str(file))
        return run(*command, check=check).stdout.strip()

    attached = attach(pushed, sbom)
    assert attach(pushed, sbom) == attached  # however often
    [referrer] = json.loads(get(digest.replace(":", "-"), OCI_INDEX)[1])["manifests"]
    assert (referrer["digest"], referrer["artifactType"]) == (attached, CYCLONEDX)
    manifest = json.loads(get(attached, OCI_MANIFEST)[1])
    assert manifest["subject"]["digest"] == digest
    assert manifest["subject"]["mediaType"] == SAGEMAKER_TAKES
    blob = f"http://{host}/v2/{path}/blobs/{manifest['layers'][0]['digest']}"
    with urllib.request.urlopen(blob, timeout=10) as response:
        assert response.read() == sbom.read_bytes()
    tag = tiny_image.rpartition(":")[2]
    assert get(tag, f"{SAGEMAKER_TAKES}, {OCI_INDEX}")[0] == digest

    other = tmp_path / "other.json"
    other.write_text("{}")
    missing = f"{pushed.partition('@')[0]}@sha256:{'0' * 64}"
    assert "expected an SBOM of docker/sbom" in attach(pushed, other, check=False)
    assert "expected REPOSITORY@DIGEST" in attach(f"{host}/{path}:{tag}", sbom, check=False)
    assert "expected a pushed image" in attach(missing, sbom, check=False)
    assert "Connection refused" in attach(f"127.0.0.1:9/x@{digest}", sbom, check=False)
    run("docker", "image", "rm", f"{registry}/{tiny_image}")


def test_a_push_without_a_registry_says_what_is_missing(tiny_image: str) -> None:
    refused = run("docker/push", "", tiny_image, check=False)
    assert refused.returncode != 0
    assert "REGISTRY=" in refused.stdout
