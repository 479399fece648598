"""The command line as a process: its colors, tracebacks and completion."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = [sys.executable, "-m", "dogbreeds.cli.main"]


def test_errors_are_coloured_on_a_terminal_only() -> None:
    command = [*PROGRAM, "train", "--on=moon"]
    piped = subprocess.run(command, capture_output=True, check=False)
    assert piped.stderr.startswith(b"error:")
    ours, theirs = pty.openpty()
    subprocess.run(command, stderr=theirs, check=False)
    os.close(theirs)
    assert os.read(ours, 1000).startswith(b"\x1b[31merror:\x1b[0m")
    os.close(ours)


def test_a_traceback_is_shown_only_when_requested(tmp_path: Path) -> None:
    command = [*PROGRAM, "data", "shard", str(tmp_path / "none"), str(tmp_path / "out")]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    verbose = subprocess.run([*command, "-v"], capture_output=True, text=True, check=False)
    assert (plain.returncode, verbose.returncode) == (1, 1)
    assert "Traceback" not in plain.stderr
    assert "Traceback" in verbose.stderr


def test_commands_and_flags_are_completed() -> None:
    environ = {"_DOGBREEDS_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    done = subprocess.run(
        PROGRAM, env={**os.environ, **environ, "COMP_WORDS": "dogbreeds train --dry"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "plain,--dry-run\n"


def test_ctrl_c_reaches_what_tests_start_in_the_background() -> None:
    conftest = str(Path(__file__).parents[1] / "conftest.py")
    code = (
        "import runpy, signal, subprocess, sys\n"
        "runpy.run_path(sys.argv[1])\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "child.send_signal(signal.SIGINT)\n"
        "sys.exit(child.wait(20) != -signal.SIGINT)\n"
    )
    runner = subprocess.run(
        [sys.executable, "-c", code, conftest], timeout=60, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as `runner &` in sh
    )  # fmt: skip
    assert runner.returncode == 0
