"""README and docs say what the code does."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dogbreeds.training.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)


def commands() -> list[str]:
    """Return the lines of all shell blocks, each once."""
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    return list(dict.fromkeys(line for block in blocks for line in block.splitlines()))


def test_the_table_of_hyperparameters_is_that_of_the_code() -> None:
    rows = [
        f"| `{field.name}` | `{field.default}` | {field.metadata['help']} |"
        for field in dataclasses.fields(Settings)
    ]
    table = (
        (ROOT / "docs" / "training.md")
        .read_text()
        .split("<!-- hyperparameters -->\n")[1]
        .split("\n<!-- end -->")[0]
    )
    assert table.splitlines()[2:] == rows  # below the header


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("make")])
def test_every_make_command_has_its_target(command: str) -> None:
    done = subprocess.run(
        [*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_make_alone_lists_the_targets() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("demo", "serve-demo", "test", "build", "push", "train-local", "serve-local"):
        assert re.search(rf"^  make {target} ", done.stdout, re.MULTILINE), target


@pytest.mark.parametrize("command", [line for line in commands() if "bin/dogbreeds" in line])
def test_every_dogbreeds_command_has_its_verb_and_flags(command: str) -> None:
    _, *arguments = command.split()
    done = subprocess.run(
        [sys.executable, "-m", "dogbreeds.cli.main", *arguments, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    usage = done.stdout.split("\n\n")[0]
    required = re.findall(r"(?<![\[\w-])[A-Z]+\b(?!\])", usage.split("]")[-1])
    assert len(arguments) > len(required), usage
    for flag in (argument for argument in arguments if argument.startswith("--")):
        assert flag in done.stdout


def test_every_dogbreeds_verb_is_run_by_a_test() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("*/test_*.py"))
    for verb in {line.split()[1] for line in commands() if "bin/dogbreeds" in line}:
        assert f'"{verb}"' in tests, verb


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    for link in links:
        assert (page.parent / link).exists(), link


def test_every_locked_package_has_been_looked_at_for_telemetry() -> None:
    page = (ROOT / "docs/privacy.md").read_text()
    locks = [*(ROOT / "requirements").glob("*.txt"), *(ROOT / "containers").glob("*/*.txt")]
    locked = {
        re.sub(r"[-_.]+", "-", name.lower())
        for lock in locks
        for name in re.findall(r"^([\w.-]+)(?:\[.*\])?==", lock.read_text(), re.MULTILINE)
    }
    assert len(locked) > 100
    assert [name for name in sorted(locked) if f"`{name}`" not in page] == []
