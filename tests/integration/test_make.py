"""The Makefile has what README and docs say."""

import re
import subprocess

import pytest

from helpers.docs import ROOT, commands


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
