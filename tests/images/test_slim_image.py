"""The serving image without PyTorch: small, and enough for an artifact with ONNX graphs."""

import json
import shutil
import time
from pathlib import Path

import pytest

from dogbreeds.model import artifact
from helpers.containers import Job, container, logs, run, server, state

pytestmark = pytest.mark.images

ROOT = Path(__file__).parents[2]
MOST_MEGABYTES = 450
MOST_COMPRESSED_MEGABYTES = 180


def test_it_is_small(slim_image: str, tmp_path: Path) -> None:
    size = int(run("docker", "image", "inspect", "--format", "{{.Size}}", slim_image).stdout)
    layers = run("docker", "history", "--format", "{{.Size}}\t{{.CreatedBy}}", slim_image).stdout
    assert size <= MOST_MEGABYTES * 1e6, f"{size / 1e6:.0f} MB:\n{layers}"
    saved = f"docker save {slim_image} | gzip -6 | wc -c"
    compressed = int(run("sh", "-c", saved, timeout=300).stdout)
    assert compressed <= MOST_COMPRESSED_MEGABYTES * 1e6, f"{compressed / 1e6:.0f} MB:\n{layers}"


def test_it_has_no_pytorch_and_java_has_its_archive_of_classes(slim_image: str) -> None:
    script = (
        "python -c 'import importlib.util as u; print(u.find_spec(\"torch\"))';"
        " ls /opt/dogbreeds/plugins"
    )
    printed = run("docker", "run", "--rm", "--network=none", slim_image, "sh", "-c", script).stdout
    # Netty's jars too, where the build could download them
    found = [name for name in printed.split() if not name.startswith("netty-")]
    assert found == ["None", "classes.jsa", "endpoints.jar"]


def test_the_front_end_takes_most_classes_from_the_archive_and_has_its_native_transport(
    slim_image: str,
) -> None:
    listing = "-Xlog:class+load:file=/tmp/loaded"
    with container(
        "--network=none",
        "--env=SAGEMAKER_MULTI_MODEL=true",
        f"--env=SAGEMAKER_MODEL_SERVER_VMARGS={listing}",
        slim_image,
    ) as identifier:
        ping = "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/ping', timeout=2)"
        deadline = time.monotonic() + 60
        while run("docker", "exec", identifier, "python", "-c", ping, check=False).returncode:
            assert time.monotonic() < deadline, logs(identifier)
        loaded = run("docker", "exec", identifier, "cat", "/tmp/loaded").stdout.splitlines()
        maps = run("docker", "exec", identifier, "sh", "-c", "cat /proc/[0-9]*/maps").stdout
    shared = sum("shared objects file" in line for line in loaded)
    assert shared > 0.85 * len(loaded), f"{shared} of {len(loaded)}"
    assert "/usr/lib/jni/libnetty_transport_native_epoll" in maps


def test_its_sbom_lists_python_and_debian_packages(slim_image: str) -> None:
    sbom = json.loads(run(str(ROOT / "docker" / "sbom"), slim_image).stdout)
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    found = {component["name"].lower(): component for component in sbom["components"]}
    assert found["onnxruntime"]["purl"].startswith("pkg:pypi/onnxruntime@1.")
    assert found["pillow"]["licenses"]
    assert found["libc6"]["purl"].startswith("pkg:deb/debian/libc6@2.")
    assert "torch" not in found


def test_it_serves_what_a_job_left(slim_image: str, trained: Job, photos: dict[str, Path]) -> None:
    with server(slim_image, trained.model) as started:
        started.wait_until_ready()
        for photo in sorted(photos["test"].glob("*/*.jpg"))[:3]:
            answer = started.invoke(photo.read_bytes(), "image/jpeg")
            assert answer.status == 200, logs(started.container)
            assert json.loads(answer.body)["model_version"] == artifact.load(trained.model).version


def test_an_artifact_without_graphs_is_refused_with_the_command_that_adds_them(
    slim_image: str, trained: Job, tmp_path: Path
) -> None:
    shutil.copytree(trained.model, tmp_path, dirs_exist_ok=True)
    artifact.save(artifact.load(tmp_path), tmp_path)  # names no graphs
    with server(slim_image, tmp_path) as starting:
        deadline = time.monotonic() + 60
        while state(starting.container)["Running"] and time.monotonic() < deadline:
            time.sleep(0.2)
        assert state(starting.container)["ExitCode"] == 1
        assert "`dogbreeds convert`" in logs(starting.container)
