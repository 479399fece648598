"""The package declares what it needs, for every Python that it supports."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def listed(file: str) -> set[str]:
    """Return the requirements of a hand-written list, without comments."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    return {line for line in lines if line and not line.startswith("-r")}


@pytest.mark.parametrize(
    ("extra", "lists"),
    [
        ("training", ["containers/training/requirements.in"]),
        ("serving", ["containers/serving/requirements.in", "requirements/demo.in"]),
        ("cloud", ["requirements/cloud.in"]),
    ],
)
def test_the_extras_are_the_lists_that_are_locked(extra: str, lists: list[str]) -> None:
    def name(requirement: str) -> str:
        return re.split(r"[^\w-]", requirement)[0]

    always = {name(requirement) for requirement in PROJECT["dependencies"]}
    wanted = {line for file in lists for line in listed(file) if name(line) not in always}
    given = set(PROJECT["optional-dependencies"][extra])
    assert {line for line in given if not line.startswith("torch")} == wanted


@pytest.fixture
def interpreters(tmp_path: Path) -> Path:
    """A folder for the PATH with the tools of the script, and no Python."""
    for tool in ("sh", "dirname"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    return tmp_path


def install(path: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": str(path), "VENV": str(path / "venv"), **environ}
    return subprocess.run(
        [ROOT / "requirements" / "install", "demo"], env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def make_python(folder: Path, name: str, version: str, *, works: bool = False) -> None:
    """Write an interpreter that tells its version; one that works fits, and then stops."""
    (folder / name).write_text(
        '#!/bin/sh\ncase "$1" in\n'
        f"-V) echo Python {version};;\n"
        '-m) echo "$0" >&2; exit 3;;\n'
        f"*) exit {int(not works)};;\nesac\n"
    )
    (folder / name).chmod(0o755)


def test_a_python_that_fits_is_found_behind_one_that_does_not(interpreters: Path) -> None:
    make_python(interpreters, "python3", "3.14.0")
    make_python(interpreters, "python3.12", "3.12.1", works=True)
    assert install(interpreters).stderr.strip().endswith("/python3.12")


def test_another_python_is_refused_in_one_line(interpreters: Path) -> None:
    make_python(interpreters, "python3", "3.14.0")
    done = install(interpreters)
    assert done.returncode == 1
    assert done.stderr.startswith("expected Python 3.11 to 3.13, found Python 3.14.0: ")
    assert done.stderr.count("\n") == 1
    make_python(interpreters, "python3.12", "3.12.1", works=True)
    assert "found Python 3.14.0" in install(interpreters, PYTHON="python3").stderr


def test_the_python_of_these_tests_fits() -> None:
    assert "3.11" <= f"{sys.version_info[0]}.{sys.version_info[1]}" < "3.14"
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
