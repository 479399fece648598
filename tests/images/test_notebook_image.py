"""The notebooks' image over a checkout: a notebook runs in it, and JupyterLab answers."""

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.containers import container, logs, run

pytestmark = pytest.mark.images

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def image(engine: None) -> Iterator[str]:
    tag = f"dogbreeds-notebook:test-{os.getpid()}"
    run("docker/build", "notebook", "cpu", tag, timeout=1200)
    yield tag
    run("docker", "image", "rm", tag)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of what the image uses, which its user may write to."""
    for name in ("src", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def options(checkout: Path) -> tuple[str, ...]:
    return (f"--user={os.getuid()}:{os.getgid()}", f"--volume={checkout}:/project")


def test_the_laptop_notebook_runs_without_a_network(image: str, checkout: Path) -> None:
    command = ("jupyter", "execute", "--inplace", "laptop.ipynb")
    place = ("--workdir=/project/examples", "--network=none")
    run("docker", "run", "--rm", *options(checkout), *place, image, *command, timeout=280)
    cells = json.loads((checkout / "examples" / "laptop.ipynb").read_text())["cells"]
    assert "0." in str(cells[-1]["outputs"])
    assert (checkout / "examples/build/train/model.tar.gz").stat().st_uid == os.getuid()


def test_the_sdk_and_the_command_line_are_there(image: str, checkout: Path) -> None:
    code = "import sagemaker.estimator, dogbreeds; print(dogbreeds.__file__)"
    arguments = ("docker", "run", "--rm", "--network=none", *options(checkout), image)
    assert "/project/src/dogbreeds" in run(*arguments, "python", "-c", code).stdout
    assert "doctor" in run(*arguments, "dogbreeds", "--help").stdout


def test_jupyterlab_answers(image: str, checkout: Path) -> None:
    with container("--publish", "127.0.0.1::8888", *options(checkout), image) as identifier:
        address = run("docker", "port", identifier, "8888/tcp").stdout.split()[0]
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"http://{address}/api", timeout=5) as answer:
                    assert "version" in json.load(answer)
                    break
            except OSError:
                assert time.monotonic() < deadline, logs(identifier)
                time.sleep(0.5)
