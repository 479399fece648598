"""`dogbreeds tune --on local` with the real `train`."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dogbreeds.model import artifact

pytestmark = pytest.mark.integration

FIXED = ("weights=none", "image_size=32", "epochs=2", "batch_size=32")


def tune(photos: Path, work_dir: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "dogbreeds.cli.main", "tune", str(photos), "--on=local",
               "--max-jobs=1", "--out", str(work_dir)]  # fmt: skip
    for pair in FIXED:
        command += ["--set", pair]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_killed_search_resumes_from_the_checkpoint_of_its_job(
    sample: Path, tmp_path: Path
) -> None:
    killed = tune(sample, tmp_path)
    try:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "jobs" / "000" / "checkpoints").glob("*.pt")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()

    again = tune(sample, tmp_path)
    try:
        output, _ = again.communicate(timeout=120)
    finally:
        again.kill()
    assert again.returncode == 0, output
    assert "Resumed at step" in (tmp_path / "jobs" / "000" / "log").read_text()
    with (tmp_path / "jobs.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 1
    assert rows[0]["state"] == "complete"
    best = artifact.load(tmp_path / "best" / "model")
    assert best.metrics["valid_accuracy"] == pytest.approx(float(rows[0]["valid_accuracy"]))
    assert best.provenance["hyperparameters"]["lr"] == pytest.approx(float(rows[0]["lr"]))
    assert list((tmp_path / "jobs").glob("*/checkpoints")) == []
