"""``requirements/install`` finds a Python that fits."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
