"""Our code on what NVIDIA's bases have: versions in an environment, the rest in stand-in images.

`make test-ngc-shape` runs this; it takes an hour and 40 GB, and is in no other target.
"""

import os
import shutil
import subprocess
import sys
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


@pytest.mark.timeout(3600)
def test_the_images_pass_their_tests_and_keep_the_bases_packages(
    base: tuple[str, list[str]],
) -> None:
    stand_in, packages = base
    python = ["docker", "run", "--rm", "--network=none", stand_in, "python", "-c"]
    printed = subprocess.run(
        [*python, "import torch, torchvision, numpy as n, importlib.metadata as m\n"
         "print(*(f'{p}=={m.version(p)}' for p in ('torch', 'torchvision', 'numpy')))"],
        capture_output=True, text=True, check=True, timeout=300,
    ).stdout  # fmt: skip
    assert printed.splitlines()[-1].split() == packages
    # What other images are made of, or none at all, has nothing to do with the base.
    others = ("slim_image", "notebook_image", "reproducible_image", "push_login")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "timeout_func_only=true", "tests/images",
         *(f"--ignore=tests/images/test_{name}.py" for name in others)],
        cwd=ROOT, env=os.environ | {"BASE_IMAGE": stand_in}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:]
