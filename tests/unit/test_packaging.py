"""The package declares what it needs, for every Python that it supports."""

import re
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
    required = {line for file in lists for line in listed(file) if name(line) not in always}
    given = set(PROJECT["optional-dependencies"][extra])
    assert {line for line in given if not line.startswith("torch")} == required


def test_the_python_of_these_tests_fits() -> None:
    assert "3.11" <= f"{sys.version_info[0]}.{sys.version_info[1]}" < "3.14"
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
