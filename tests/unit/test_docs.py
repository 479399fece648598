"""README and docs say what the code does."""

import dataclasses
import re
from pathlib import Path

import pytest

from dogbreeds.cli.main import main
from dogbreeds.training.settings import Settings
from helpers.docs import PAGES, ROOT, commands


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


@pytest.mark.parametrize("command", [line for line in commands() if "bin/dogbreeds" in line])
def test_every_dogbreeds_command_has_its_verb_and_flags(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, *arguments = command.split()
    assert main([*arguments, "--help"]) == 0
    shown = capsys.readouterr().out
    usage = shown.split("\n\n")[0]
    required = re.findall(r"(?<![\[\w-])[A-Z]+\b(?!\])", usage.split("]")[-1])
    assert len(arguments) > len(required), usage
    for flag in (argument for argument in arguments if argument.startswith("--")):
        assert flag in shown


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
