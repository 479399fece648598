"""Our code on what NVIDIA's bases have: versions in an environment, the rest in stand-in images.

`make test-ngc-shape` runs this; it takes half an hour and 30 GB, and is in no other target.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.environments import ROOT, find_python, installed, run_unit_tests

PYTHON = "3.12"
# The default base's shape, and that of a CUDA 13 base of today.
BASES = {
    "25.03": ["torch==2.7.0", "torchvision==0.22.0", "numpy==1.26.4"],
    "26.09": ["torch==2.14.1", "torchvision==0.29.1", "numpy==2.4.6"],
}


@pytest.mark.timeout(3600)
def test_unit_and_integration_tests_pass_with_the_default_bases_versions(tmp_path: Path) -> None:
    interpreter = find_python(PYTHON)
    if interpreter is None:
        pytest.skip(f"no Python {PYTHON} on this machine")
    with installed(interpreter, tmp_path, TORCH_LIST="requirements/ngc.txt") as python:
        versions = subprocess.run(
            [str(python), "-c", "import numpy, torch; print(numpy.__version__, torch.__version__)"],
            capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        assert versions[0] == "1.26.4"
        assert versions[1].startswith("2.7.0")
        run_unit_tests(python, "tests/integration", "-m", "not photos")


@pytest.fixture(scope="module", params=BASES)
def base(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[str]]]:
    """A stand-in for an NGC image, by its tag, and the packages that are its own."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True).returncode:
        pytest.skip("no Docker engine answers")
    if find_python(PYTHON) is None:
        pytest.skip(f"no Python {PYTHON} to copy into the stand-in")
    tag = f"dogbreeds-ngc-stand-in:{request.param}-{os.getpid()}"
    command = [".ci/ngc-base/build", tag, request.param, *BASES[request.param]]
    subprocess.run(command, cwd=ROOT, check=True, timeout=1800)
    yield tag, BASES[request.param]
    subprocess.run(["docker", "image", "rm", tag], check=True)


def docker_run(*arguments: str) -> str:
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", *arguments],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("image", ["training", "serving"])
def test_the_image_builds_and_keeps_the_bases_packages(
    image: str, base: tuple[str, list[str]]
) -> None:
    stand_in, packages = base
    tag = f"dogbreeds-{image}-ngc-shape:{os.getpid()}"
    subprocess.run(
        ["docker/build", image, "gpu", tag], cwd=ROOT, timeout=1800, check=True,
        env=os.environ | {"BASE_IMAGE": stand_in, "WEIGHTS": "none"},
    )  # fmt: skip
    try:
        code = (
            "import importlib.metadata as m, torch, torchvision, numpy\n"
            "print(*(f'{n}=={m.version(n)}' for n in ('torch', 'torchvision', 'numpy')))\n"
            "print(torch.__file__)\n"
        )
        versions, place = docker_run(tag, "python", "-c", code).splitlines()
        assert versions.split() == packages
        assert place.startswith("/usr/local/lib/python3.12/dist-packages/")
        # The base's entry point is replaced by ours, which leaves a machine without GPU alone.
        path = docker_run(tag, "sh", "-c", "echo $LD_LIBRARY_PATH; cat /proc/1/comm").split()
        assert "/usr/local/cuda/compat/lib.real" not in path[0].split(":")
        module = {"training": "dogbreeds.entrypoint.job", "serving": "dogbreeds.serving.handler"}
        docker_run(tag, "python", "-c", f"import {module[image]}")
    finally:
        subprocess.run(["docker", "image", "rm", tag], check=True)
