"""Jobs of several processes: torchrun on one host, and `train` on two "hosts" of the loopback."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import pytest

import dogbreeds.entrypoint
from dogbreeds.data.pixels import allocate, attach
from dogbreeds.local import training
from dogbreeds.model import artifact
from helpers import trainer_program

pytestmark = pytest.mark.integration

PROGRAM = str(Path(trainer_program.__file__))
JOB = {
    "epochs": "4",
    "batch_size": "20",
    "min_steps_per_epoch": "1",
    "lr": "0.05",
    "layer_decay": "1",
    "linear_probe_epochs": "2",
    "ema_decay": "0.9",
}
# Both names lead to this machine; the first is where the processes meet.
HOSTS = ("127.0.0.1", "localhost")
SMALL = {"model": "resnet18", "weights": "none", "image_size": "32", "batch_size": "16",
         "quantize": "false"}  # fmt: skip


def history(processes: int, checkpoints: Path, **settings: str) -> list[dict[str, float]]:
    """Run the Trainer on so many processes."""
    environment = {**os.environ, "SM_HPS": json.dumps({**JOB, **settings})}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), PROGRAM, str(checkpoints)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("wise_ft", ["auto", "0.5"])
def test_two_processes_learn_and_choose_what_one_does(tmp_path: Path, wise_ft: str) -> None:
    one = history(1, tmp_path / "one", wise_ft=wise_ft)
    two = history(2, tmp_path / "two", wise_ft=wise_ft)
    assert len(one) == 4
    assert one[-1]["train_loss"] < 0.8 * one[0]["train_loss"]
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=1e-3)


def test_processes_of_a_host_read_the_photos_once_and_share_them(
    sample: Path, tmp_path: Path
) -> None:
    """As on a host with two GPUs, where torchrun starts two processes of our program."""
    tree = tmp_path / "ml"
    training.make_tree(tree, sample, {})
    program = Path(dogbreeds.entrypoint.__file__).parent / "program" / "train.py"
    channels = {f"SM_CHANNEL_{split.upper()}": str(sample / split) for split in ("train", "test")}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", str(program)]
    given = {**SMALL, "epochs": "1", "pixel_cache": "memory"}
    hyperparameters = {"SM_HPS": json.dumps(given)}
    done = subprocess.run(
        command, env={**os.environ, **channels, "SAGEMAKER_BASE_DIR": str(tree), **hyperparameters},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Pixel cache") == 1
    assert done.stdout.count("[metrics]") == 1
    report = json.loads((tree / "output" / "data" / "evaluation_test.json").read_text())
    assert report["photos"] == len(list((sample / "test").glob("*/*")))
    assert {Path(mistake["file"]).is_file() for mistake in report["worst"]} <= {True}


def trees(sample: Path, folder: Path, **settings: str) -> list[Path]:
    """Make a job of two hosts with a tree each."""
    made = []
    for host in HOSTS:
        tree = folder / host
        training.make_tree(tree, sample, {**SMALL, **settings})
        resources = {"current_host": host, "hosts": list(HOSTS)}
        (tree / "input" / "config" / "resourceconfig.json").write_text(json.dumps(resources))
        made.append(tree)
    return made


@pytest.fixture
def only_cluster() -> Iterator[None]:
    """Hosts meet at a fixed port: runs of these tests on one machine take turns."""
    shared = os.open("/tmp", os.O_RDONLY)  # a run's own temporary folder is none
    try:
        fcntl.flock(shared, fcntl.LOCK_EX)
        yield
    finally:
        os.close(shared)


@contextmanager
def cluster(made: list[Path]) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Start `train` on all hosts; what each prints goes to the file log of its tree."""
    with ExitStack() as stack:
        processes = []
        for tree in made:
            log = stack.enter_context((tree / "log").open("wb"))
            processes.append(training.start(tree, log.fileno()))
            stack.callback(training.stop, processes[-1])
        yield processes


def program_of(process: "subprocess.Popen[bytes]") -> psutil.Process:
    """Return the training program: `train` starts torchrun, torchrun starts it."""
    (program,) = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "torch.distributed.run" not in child.cmdline() and "train.py" in child.cmdline()[-1:]
    ]
    return program


def wait_for_file(folder: Path, pattern: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline, (folder.parent / "log").read_text()
        time.sleep(0.1)


def wait_for_end(processes: list["subprocess.Popen[bytes]"]) -> list[int]:
    """Return the exit codes; a program that hangs shows in its log where."""
    deadline = time.monotonic() + 28  # before torchrun kills it
    try:
        return [process.wait(max(0, deadline - time.monotonic())) for process in processes]
    except subprocess.TimeoutExpired:
        for process in processes:
            with suppress(ValueError, psutil.Error):  # it has ended
                program_of(process).send_signal(signal.SIGABRT)
        return [process.wait(30) for process in processes]


@pytest.mark.usefixtures("only_cluster")
def test_two_hosts_train_together_and_the_first_alone_writes(sample: Path, tmp_path: Path) -> None:
    made = trees(sample, tmp_path, epochs="1")
    with cluster(made) as processes:
        codes = [process.wait(120) for process in processes]
    logs = [(tree / "log").read_text() for tree in made]
    assert codes == [0, 0], "".join(logs)
    assert "on 2 x cpu" in logs[0]
    assert [log.count("[metrics] epoch=1") for log in logs] == [1, 0]
    assert artifact.load(made[0] / "model").metrics["test_accuracy"] > 0
    assert (made[0] / "output" / "data" / "evaluation_test.json").is_file()
    for folder in ("model", "checkpoints"):
        assert list((made[1] / folder).iterdir()) == []
    # Each host has its own system metrics.
    assert [path.name for path in (made[1] / "output" / "data").iterdir()] == ["profiler"]


def test_users_scripts_run_under_torchrun_side_by_side_where_the_sdk_asks_for_it(
    sample: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "mine.py").write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "print(f\"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} {sys.argv[1:]}\")\n"
        f"folder = Path({str(source)!r})\n"
        "(folder / f'{os.getpid()}.started').touch()\n"
        "while len(list(folder.glob('*.started'))) < 2: time.sleep(0.1)\n"
        "raise ValueError('my own mistake')\n"
    )
    hyperparameters = {
        "sagemaker_program": "mine.py",
        "sagemaker_submit_directory": str(source),
        "sagemaker_torch_distributed_enabled": "true",
        "depth": "3",
    }
    made = [tmp_path / "one", tmp_path / "two"]
    for tree in made:
        training.make_tree(tree, sample, hyperparameters)
    with cluster(made) as processes:
        assert 0 not in [process.wait(90) for process in processes]
    for tree in made:
        assert "rank 0 of 1 ['--depth', '3']" in (tree / "log").read_text()
        assert "ValueError: my own mistake" in (tree / "output" / "failure").read_text()[:1024]


@pytest.mark.usefixtures("only_cluster")
def test_a_cluster_stops_together_resumes_and_does_not_wait_for_the_dead(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")
    made = trees(sample, tmp_path, epochs="500")
    with cluster(made) as processes:
        wait_for_file(made[0] / "model", "*.safetensors")
        for process in processes:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)  # hosts are never told at the same moment
        codes = wait_for_end(processes)
        logs = [(tree / "log").read_text() for tree in made]
        assert codes == [0, 0], "".join(logs)
        assert "the model is saved" in logs[0]
    (made[0] / "model" / "model.safetensors").unlink()
    with cluster(made) as processes:
        wait_for_file(made[0] / "model", "*.safetensors")
        assert "Resumed at step" in (made[0] / "log").read_text()
        os.kill(program_of(processes[1]).pid, signal.SIGKILL)
        started = time.monotonic()
        assert [process.wait(60) != 0 for process in processes] == [True, True]
        assert time.monotonic() - started < 60
    assert "lost contact with another process" in (made[0] / "output" / "failure").read_text()
    assert "ended without giving a reason" in (made[1] / "output" / "failure").read_text()
    assert artifact.load(made[0] / "model").metrics


@pytest.mark.parametrize("tier", ["memory", "file"])
def test_another_process_maps_the_same_pixels(tier: Literal["memory", "file"]) -> None:
    shared = allocate((3, 2), tier)
    code = (
        "import sys; from dogbreeds.data.pixels import attach\n"
        f"array = attach({shared.location!r}, (3, 2)); array[1, 1] = 7 + array[0, 0]\n"
    )
    shared.array[0, 0] = 5
    subprocess.run([sys.executable, "-c", code], check=True)
    assert shared.array.tolist() == [[5, 0], [0, 12], [0, 0]]
    assert np.shares_memory(shared.array, shared.array[1:])
    assert attach(shared.location, (3, 2)).tolist() == shared.array.tolist()
