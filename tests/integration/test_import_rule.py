"""The rule in pyproject.toml that says which room may import which."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("model/photo.py", "from dogbreeds.training import stop"),
        ("serving/codecs.py", "from dogbreeds.training import stop"),
        ("entrypoint/job.py", "from dogbreeds.cloud import naming"),
        ("newroom/__init__.py", "from dogbreeds.system import files"),
    ],
)
def test_an_import_that_runs_up_or_a_room_without_a_place_fails(
    file: str, statement: str, tmp_path: Path
) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.jar")
    shutil.copytree(ROOT / "src" / "dogbreeds", tmp_path / "dogbreeds", ignore=ignored)
    (tmp_path / "dogbreeds" / file).parent.mkdir(exist_ok=True)
    with (tmp_path / "dogbreeds" / file).open("a") as stream:
        stream.write(f"\n{statement}\n")
    program = "from importlinter.cli import lint_imports_command as main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache", str(ROOT / "pyproject.toml")],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "broken" in done.stdout.lower() or "newroom" in done.stdout + done.stderr
