"""What a training job loses where it is killed, stopped, or finds its disks full or read-only."""

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dogbreeds.local import training
from dogbreeds.model import artifact
from dogbreeds.model.document import WEIGHTS_FILE
from helpers.clock import Clock
from helpers.drill_record import Record
from helpers.memory_group import memory_group
from helpers.shared_library import needs_compiler

pytestmark = pytest.mark.drill

JOB = {
    "model": "shufflenet_v2_x0_5", "weights": "none", "image_size": "32", "epochs": "6",
    "batch_size": "16", "checkpoint_seconds": "1", "quantize": "false",
}  # fmt: skip


def run(tree: Path, kill_after: float | None = None, number: int = signal.SIGKILL) -> int:
    """Run `train`; after some seconds send its processes a signal. Return the exit code."""
    process = training.start(tree, subprocess.DEVNULL)
    try:
        return process.wait(kill_after or 120)
    except subprocess.TimeoutExpired:
        if kill_after is None:
            raise
        process.send_signal(number)
        return process.wait(30)
    finally:
        training.stop(process)


def weights(tree: Path) -> dict[str, torch.Tensor]:
    return artifact.load(tree / "model").model.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def uninterrupted(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The tree of a job that ran undisturbed, and its seconds."""
    tree = tmp_path_factory.mktemp("uninterrupted") / "ml"
    training.make_tree(tree, sample, JOB)
    started = time.monotonic()
    assert run(tree) == 0
    return tree, time.monotonic() - started


@pytest.mark.timeout(1200)
def test_a_job_killed_at_random_moments_ends_with_the_same_weights(
    uninterrupted: tuple[Path, float], sample: Path, tmp_path: Path, record: Record, full: bool
) -> None:
    whole, seconds = uninterrupted
    randomness = random.Random(1)
    kills = 20 if full else 3
    tree = tmp_path / "0"
    training.make_tree(tree, sample, JOB)
    for number in range(kills):
        if run(tree, randomness.uniform(0.5, seconds)) == 0:  # it had ended before
            assert same(weights(whole), weights(tree))
            tree = tmp_path / f"{number + 1}"
            training.make_tree(tree, sample, JOB)
    started = time.monotonic()
    assert run(tree) == 0
    assert same(weights(whole), weights(tree))
    history = [json.loads((t / "output/data/history.json").read_text()) for t in (whole, tree)]
    assert [epoch["valid_loss"] for epoch in history[0]] == [e["valid_loss"] for e in history[1]]
    record(f"training killed at {kills} random moments", "resumed, the same weights bit for bit",
           "steps since the last checkpoint, repeated", time.monotonic() - started)  # fmt: skip


@needs_compiler
def test_a_clock_that_jumps_changes_no_weight_and_no_duration(
    uninterrupted: tuple[Path, float], sample: Path, tmp_path: Path, record: Record,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole, seconds = uninterrupted
    clock, tree = Clock(tmp_path), tmp_path / "ml"
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value)
    training.make_tree(tree, sample, JOB)
    started = time.monotonic()
    process = training.start(tree, subprocess.DEVNULL)
    monkeypatch.undo()
    try:
        while process.poll() is None:
            assert time.monotonic() - started < 120
            for days in (1, -1):
                clock.set(days * 86_400)
                time.sleep(0.2)
    finally:
        training.stop(process)
    taken = time.monotonic() - started
    assert process.returncode == 0
    assert same(weights(whole), weights(tree))
    history = json.loads((tree / "output/data/history.json").read_text())
    assert all(0 < epoch["epoch_seconds"] < taken for epoch in history)
    assert (tree / "output/data/report.html").stat().st_size > 10_000
    record("a job's clock jumps back and forth by days", "the same weights bit for bit", "nothing",
           max(0, taken - seconds))  # fmt: skip


def test_sigterm_at_random_moments_leaves_a_model_or_none(
    uninterrupted: tuple[Path, float], sample: Path, tmp_path: Path, record: Record, full: bool
) -> None:
    _, seconds = uninterrupted
    randomness = random.Random(2)
    slowest, saved, stops = 0.0, 0, 20 if full else 3
    for number in range(stops):
        tree = tmp_path / str(number)
        training.make_tree(tree, sample, JOB)
        moment = randomness.uniform(0.1, seconds)
        started = time.monotonic()
        # Before Python has a handler, the signal itself ends the process.
        assert run(tree, moment, signal.SIGTERM) in (0, -signal.SIGTERM)
        slowest = max(slowest, time.monotonic() - started - moment)
        if (tree / "model" / WEIGHTS_FILE).exists():
            saved += 1
            assert weights(tree)
        assert not list((tree / "model").glob(".*.partial"))
    record(f"SIGTERM to training at {stops} random moments", f"exit code 0, {saved} models saved",
           "nothing", slowest)  # fmt: skip


@pytest.mark.parametrize("megabytes", [200, 350])
def test_a_job_that_gets_too_little_memory_ends_with_the_reason(
    sample: Path, tmp_path: Path, record: Record, megabytes: int
) -> None:
    tree = tmp_path / "ml"
    training.make_tree(tree, sample, JOB)
    started = time.monotonic()
    with memory_group(megabytes) as enter:
        process = training.start(tree, subprocess.DEVNULL)
        try:
            enter(process.pid)
            assert process.wait(120) == 1
        finally:
            training.stop(process)
    reason = (tree / "output" / "failure").read_text()
    assert "most likely because memory ran out" in reason
    assert not (tree / "model" / WEIGHTS_FILE).exists()
    record(f"{megabytes} MB of memory for a job", f"exit code 1: {reason}", "the job",
           time.monotonic() - started)  # fmt: skip


def test_a_job_never_resumes_from_a_corrupt_checkpoint(
    uninterrupted: tuple[Path, float], sample: Path, tmp_path: Path, record: Record, full: bool
) -> None:
    whole, _ = uninterrupted
    randomness = random.Random(4)
    checkpoint = max((whole / "checkpoints").iterdir(), key=lambda file: file.stat().st_size)
    tries = 5 if full else 1
    started = time.monotonic()
    for number in range(tries):
        tree = tmp_path / str(number)
        training.make_tree(tree, sample, JOB)
        content = bytearray(checkpoint.read_bytes())
        content[randomness.randrange(len(content))] ^= 1 << randomness.randrange(8)
        (tree / "checkpoints" / checkpoint.name).write_bytes(content)
        assert run(tree) == 0
        assert same(weights(whole), weights(tree))
    record(f"a checkpoint with a flipped bit, {tries} times", "the same weights bit for bit",
           "all steps, repeated", (time.monotonic() - started) / tries)  # fmt: skip


@contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    """Put a file system of its own at `place`."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("where", ["checkpoints", "model", "output/data"])
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_disk_that_cannot_be_written_is_named(
    sample: Path, tmp_path: Path, record: Record, fault: str, where: str
) -> None:
    tree = tmp_path / "ml"
    training.make_tree(tree, sample, JOB)
    place = tree / where
    place.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with mounted(place, "size=16k" if fault == "full" else "ro"):
        assert run(tree) != 0
        left = [path.name for path in place.rglob("*") if path.is_file() and path.stat().st_size]
    reason = (tree / "output" / "failure").read_text()
    assert "\n" not in reason.strip()
    assert str(place) in reason
    expected = "No space left on device" if fault == "full" else "Read-only file system"
    assert expected in reason
    assert WEIGHTS_FILE not in left
    record(f"{fault} disk at {where}", f"exit code 1: {reason.replace(str(tree), '')}",
           "what could not be written", time.monotonic() - started)  # fmt: skip


def test_a_log_that_cannot_be_written_fails_no_job(
    sample: Path, tmp_path: Path, record: Record
) -> None:
    tree = tmp_path / "ml"
    training.make_tree(tree, sample, {**JOB, "epochs": "1"})
    started = time.monotonic()
    with Path("/dev/full").open("wb") as full_disk:
        process = training.start(tree, full_disk.fileno())
        try:
            code = process.wait(120)
        finally:
            training.stop(process)
    assert code == 0
    assert weights(tree)
    record("full disk at the log", "trained and saved", "the log", time.monotonic() - started)
