"""The lock files on Python 3.12, which NGC's bases have, and 3.13."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODULES = (
    "torch",
    "torchvision",
    "sagemaker_training.trainer",
    "mms.service",
    "sagemaker_inference.model_server",
    "PIL.Image",
    "dogbreeds.monitoring.debugger.hook",  # smdebug, without a variable that helps it
    "dogbreeds.monitoring.debugger.rules",
    "boto3",
    "dogbreeds.entrypoint.job",
    "dogbreeds.serving.handler",
)


# smdebug, of 2023, is not made for Python 3.13: there it imports, and what it does is untested.
WITHOUT_SMDEBUG = [
    "--ignore=tests/unit/test_debugger.py",
    "--ignore=tests/unit/test_rules.py",
    "--deselect=tests/unit/test_profile.py::test_the_table_is_that_of_smdebugs_reader",
    "--deselect=tests/unit/test_system_metrics.py::test_smdebugs_readers_read_what_is_sampled",
]


def find_python(version: str) -> str | None:
    """Return an interpreter of a version that starts: from the PATH, or one of pyenv's."""
    name = f"python{version}"
    pyenv = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}*/bin/{name}"))
    for candidate in (shutil.which(name), *map(str, pyenv)):
        if candidate and not subprocess.run([candidate, "-V"], capture_output=True).returncode:
            return candidate
    return None


@pytest.fixture(scope="module", params=["3.12", "3.13"])
def python(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """An environment with all locked packages; removed at the end."""
    interpreter = find_python(request.param)
    if interpreter is None:
        pytest.skip(f"no Python {request.param} on this machine")
    venv = tmp_path_factory.mktemp("python") / "venv"
    environment = os.environ | {"VENV": str(venv), "PYTHON": interpreter}
    try:
        subprocess.run(["requirements/install", "dev"], cwd=ROOT, env=environment, check=True)
        yield venv / "bin" / "python"
    finally:
        shutil.rmtree(venv, ignore_errors=True)


@pytest.mark.timeout(1200)  # the installation included
def test_every_package_imports_and_agrees_with_the_others(python: Path) -> None:
    code = (
        "import importlib, json, sys\n"
        f"for name in {MODULES!r}: importlib.import_module(name)\n"
        "print(json.dumps(sys.version_info[:2]))\n"
    )
    done = subprocess.run(
        [str(python), "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1]) in ([3, 12], [3, 13])


@pytest.mark.timeout(900)  # removing the environment included
def test_the_unit_tests_pass(python: Path) -> None:
    version = [str(python), "-c", "import sys; print(sys.version_info[:2] < (3, 13))"]
    has_smdebug = subprocess.run(version, capture_output=True, text=True, check=True).stdout
    left_out = [] if has_smdebug.strip() == "True" else WITHOUT_SMDEBUG
    done = subprocess.run(
        [
            str(python),
            "-m",
            "pytest",
            "-q",
            "-n",
            "logical",
            "--dist",
            "loadfile",
            "tests/unit",
            *left_out,
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
