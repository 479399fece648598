"""The same commit built twice gives the same files."""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.containers import run

pytestmark = pytest.mark.images

File = tuple[object, ...]


@pytest.fixture(scope="module")
def twice() -> Iterator[list[str]]:
    """The tags of two slim images of one commit, neither of which took a layer from a cache."""
    tags = [f"dogbreeds-serving-slim:test-{os.getpid()}-{name}" for name in ("first", "second")]
    for tag in tags:
        run("docker/build", "serving", "slim", tag, "--no-cache", timeout=1200)
    yield tags
    run("docker", "image", "rm", *tags)


def times_are_the_commits() -> bool:
    """Whether the engine keeps images in containerd, and so can set their files' times."""
    driver = run("docker", "info", "--format", "{{.DriverStatus}}").stdout
    return "io.containerd.snapshotter" in driver


def layers(tag: str, saved: Path, times: bool) -> list[dict[str, File]]:
    """What is in each layer, by path."""
    run("docker", "save", "--output", str(saved), tag, timeout=300)
    found = []
    with tarfile.open(saved) as image:
        manifest = json.loads(contents(image, image.getmember("manifest.json")))
        for name in manifest[0]["Layers"]:
            with tarfile.open(fileobj=image.extractfile(name)) as layer:
                found.append({member.name: described(layer, member, times) for member in layer})
    saved.unlink()
    return found


def described(layer: tarfile.TarFile, member: tarfile.TarInfo, times: bool) -> File:
    content = hashlib.sha256(contents(layer, member)).hexdigest() if member.isreg() else ""
    owner = (member.uid, member.gid)
    time = int(member.mtime) if times else None
    return (content, member.linkname, member.type, member.mode, *owner, time)


def contents(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file
    return file.read()


def test_two_builds_of_a_commit_have_the_same_files(twice: list[str], tmp_path: Path) -> None:
    times = times_are_the_commits()
    first, second = (layers(tag, tmp_path / "image.tar", times) for tag in twice)
    assert len(first) == len(second)
    different = sorted(
        path
        for one, other in zip(first, second, strict=True)
        for path in one.keys() | other.keys()
        if one.get(path) != other.get(path) and not path.endswith(".jsa")  # Java's
    )
    assert not different, f"{len(different)} files differ:\n" + "\n".join(different[:50])
