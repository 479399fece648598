"""The same commit built twice gives the same image."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.containers import run

pytestmark = pytest.mark.images

File = tuple[object, ...]


def keeps_images_in_containerd() -> bool:
    """Whether the engine can set the times of an image's files."""
    status = run("docker", "info", "--format", "{{.DriverStatus}}", check=False).stdout
    return "io.containerd.snapshotter" in status


@pytest.fixture
def containerd(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An engine that keeps images in containerd: the one that is here, or one beside it."""
    if keeps_images_in_containerd():
        yield
        return
    dockerd = shutil.which("dockerd")
    if dockerd is None or os.geteuid():
        pytest.skip("the engine keeps no images in containerd, and none can be started beside it")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "daemon.json").write_text('{"features": {"containerd-snapshotter": true}}')
        monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/docker.sock")
        options = {
            "config-file": f"{folder}/daemon.json",
            "data-root": f"{folder}/data",
            "exec-root": f"{folder}/exec",
            "host": f"unix://{folder}/docker.sock",
            "pidfile": f"{folder}/docker.pid",
            "iptables": "false",
            "ip6tables": "false",
        }
        command = [dockerd, *(f"--{name}={value}" for name, value in options.items())]
        with (Path(folder) / "log").open("w+") as log:
            daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            try:
                deadline = time.monotonic() + 60
                while not keeps_images_in_containerd():
                    log.seek(0)
                    assert time.monotonic() < deadline and daemon.poll() is None, log.read()
                    time.sleep(0.5)
                yield
            finally:
                daemon.terminate()
                daemon.wait(60)


def digest(tag: str) -> str:
    """Of the image's manifest, which is what a registry names."""
    return run("docker", "image", "inspect", "--format", "{{.Id}}", tag).stdout.strip()


def layers(tag: str, saved: Path) -> list[dict[str, File]]:
    """What is in each layer, by path."""
    run("docker", "save", "--output", str(saved), tag, timeout=300)
    found = []
    with tarfile.open(saved) as image:
        manifest = json.loads(contents(image, image.getmember("manifest.json")))
        for name in manifest[0]["Layers"]:
            with tarfile.open(fileobj=image.extractfile(name)) as layer:
                found.append({member.name: described(layer, member) for member in layer})
    saved.unlink()
    return found


def described(layer: tarfile.TarFile, member: tarfile.TarInfo) -> File:
    content = hashlib.sha256(contents(layer, member)).hexdigest() if member.isreg() else ""
    owner = (member.uid, member.gid)
    return (content, member.linkname, member.type, member.mode, *owner, int(member.mtime))


def contents(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file
    return file.read()


@pytest.mark.usefixtures("containerd")
def test_two_builds_of_a_commit_have_the_same_digest(tmp_path: Path) -> None:
    tags = [f"dogbreeds-serving-slim:test-{os.getpid()}-{name}" for name in ("first", "second")]
    try:
        for tag in tags:
            run("docker/build", "serving", "slim", tag, "--no-cache", timeout=1200)
        digests = [digest(tag) for tag in tags]
        first, second = (layers(tag, tmp_path / "image.tar") for tag in tags)
    finally:
        run("docker", "image", "rm", *tags, check=False)
    different = sorted(
        path
        for one, other in zip(first, second, strict=True)
        for path in one.keys() | other.keys()
        if one.get(path) != other.get(path)
    )
    assert digests[0] == digests[1], f"{len(different)} files differ:\n" + "\n".join(different[:50])
