"""`make train-local` and `make serve-local` where the engine has no GPU."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
# What Docker 26 prints for --gpus without NVIDIA's toolkit; its exit code is 125.
REFUSED = (
    'docker: Error response from daemon: could not select device driver "" with capabilities:'
    " [[gpu]]."
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A `docker` that has every image and no GPU, and notes what it is asked to run."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\n[ "$1" = run ] || exit 0\necho "$*" >>{tmp_path}/asked\n'
        f"case $* in *--gpus*) echo '{REFUSED}' >&2; exit 125;; esac\n"
    )
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}


def make(
    target: str, tmp_path: Path, environment: dict[str, str], **variables: str
) -> subprocess.CompletedProcess[str]:
    photos, model = tmp_path / "photos", tmp_path / "model"
    for folder in (photos / "train", photos / "test", model):
        folder.mkdir(parents=True, exist_ok=True)
    (model / "model.safetensors").touch()
    given = {"DATA": photos, "OUT": tmp_path / "out", "MODEL_DIR": model, **variables}
    return subprocess.run(
        ["make", target, *(f"{name}={value}" for name, value in given.items())],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("target", ["train-local", "serve-local"])
def test_an_engine_without_gpus_says_so_and_what_to_do(
    target: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    done = make(target, tmp_path, environment, FLAVOR="gpu")
    assert done.returncode != 0
    for words in ("gives containers no GPU (--gpus all)", "GPU=none", "Container Toolkit"):
        assert words in done.stderr
    assert "could not select device driver" in done.stderr
    assert len((tmp_path / "asked").read_text().splitlines()) == 1  # the program never ran
    assert not (tmp_path / "out").exists()  # so the next attempt finds no earlier training


@pytest.mark.parametrize("target", ["train-local", "serve-local"])
def test_without_gpus_requested_none_are_looked_for(
    target: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    done = make(target, tmp_path, environment, FLAVOR="gpu", GPU="none")
    assert done.returncode == 0, done.stderr
    assert "--gpus" not in (tmp_path / "asked").read_text()
