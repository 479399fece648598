"""Virtual environments of other Pythons and other versions, and the unit tests in them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def find_python(version: str) -> str | None:
    """Return an interpreter of a version that starts: from the PATH, or one of pyenv's."""
    name = f"python{version}"
    pyenv = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}*/bin/{name}"))
    for candidate in (shutil.which(name), *map(str, pyenv)):
        if candidate and not subprocess.run([candidate, "-V"], capture_output=True).returncode:
            return candidate
    return None


@contextmanager
def installed(interpreter: str, folder: Path, **environment: str) -> Iterator[Path]:
    """Yield the interpreter of an environment with all locked packages; remove it at the end."""
    venv = folder / "venv"
    given = os.environ | {"VENV": str(venv), "PYTHON": interpreter} | environment
    try:
        subprocess.run(["requirements/install", "dev"], cwd=ROOT, env=given, check=True)
        yield venv / "bin" / "python"
    finally:
        shutil.rmtree(venv, ignore_errors=True)


def run_unit_tests(python: Path, *options: str) -> None:
    """Fail if the unit tests do, with pytest's options added to ours."""
    command = [str(python), "-m", "pytest", "-q", "-n", "logical", "--dist", "loadfile"]
    done = subprocess.run(
        [*command, "tests/unit", *options], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
