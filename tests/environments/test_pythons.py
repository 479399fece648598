"""The lock files on Python 3.12, which NGC's bases have, and 3.13."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.environments import find_python, installed, run_unit_tests

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


@pytest.fixture(scope="module", params=["3.12", "3.13"])
def python(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """An environment with all locked packages; removed at the end."""
    interpreter = find_python(request.param)
    if interpreter is None:
        pytest.skip(f"no Python {request.param} on this machine")
    with installed(interpreter, tmp_path_factory.mktemp("python")) as python:
        yield python


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
    run_unit_tests(python, *left_out)
