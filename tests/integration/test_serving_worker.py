"""A worker that cannot load its model ends the server with the reason."""

import subprocess
import sys
from pathlib import Path

import pytest

from dogbreeds.serving import mms
from dogbreeds.serving.settings import Settings
from dogbreeds.serving.worker import FAILURE_FILE_ENV


def load(code: str, failure: Path) -> int:
    """Load a model as a worker does, in a process group of its own; return how it ended."""
    program = (
        "import os, signal\n"
        "from dogbreeds.serving.worker import counting_loads, ending_the_server\n"
        f"{code}\n"
    )
    environment = {FAILURE_FILE_ENV: str(failure), "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=environment, start_new_session=True, check=False, timeout=200
    )
    return done.returncode


def test_the_reason_and_the_traceback_are_left_to_the_server(tmp_path: Path) -> None:
    failure = tmp_path / "failure"
    assert load("with ending_the_server(): import no_such_module", failure) == -9
    reason, traceback = failure.read_text().split("\n", 1)
    assert reason == "cannot load the model: No module named 'no_such_module'"
    assert traceback.startswith("Traceback (most recent call last)")


def test_workers_that_fail_at_once_leave_one_whole_reason(tmp_path: Path) -> None:
    # All wait for the end of a pipe, so that one kills another at any point of what it writes.
    fails = """
reading, writing = os.pipe()
if all(os.fork() for _ in range(6)):
    os.close(writing), signal.pause()
os.close(writing), os.read(reading, 1)
with ending_the_server(): import no_such_module
"""
    for number in range(20):
        failure = tmp_path / str(number)
        assert load(fails, failure) == -9
        reason, *_, last = failure.read_text().splitlines()
        assert reason == "cannot load the model: No module named 'no_such_module'"
        assert last.startswith("ModuleNotFoundError")


def test_loads_that_end_their_process_are_repeated_three_times_per_worker(tmp_path: Path) -> None:
    failure = tmp_path / "failure"
    exits = "with counting_loads(1, ready=True): os._exit(3)"
    assert [load(exits, failure) for _ in range(4)] == [3, 3, 3, -9]
    assert "3 loads ended their process without an exception" in failure.read_text()


def test_once_a_model_was_loaded_lost_workers_are_always_replaced(tmp_path: Path) -> None:
    failure = tmp_path / "failure"
    assert load("with counting_loads(1, ready=True): pass", failure) == 0
    exits = "with counting_loads(1, ready=True): os._exit(3)"
    assert {load(exits, failure) for _ in range(5)} == {3}
    assert not failure.exists()


@pytest.mark.parametrize(("multi_model", "seconds"), [("true", 3600), ("false", 5)])
def test_models_that_share_a_server_load_as_long_as_they_need(
    multi_model: str, seconds: int, tmp_path: Path
) -> None:
    settings = Settings(
        {
            "SAGEMAKER_MULTI_MODEL": multi_model,
            "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "5",
            "SM_MODEL_DIR": str(tmp_path),
        }
    )
    mms.write_files(settings, tmp_path)
    properties = (tmp_path / "mms.properties").read_text()
    assert f"default_response_timeout_seconds={seconds}\n" in properties
    assert settings.worker_timeout == (5 if multi_model == "true" else None)
