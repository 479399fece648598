"""Run sagemaker-training's `train` over a private tree that is shaped like ``/opt/ml``."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dogbreeds.data.folders import find_roots
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.processes import die_with_parent

_STOP_SECONDS = 25  # the job itself saves and ends within 20 s of SIGTERM


class TrainingFailedError(DogbreedsError, RuntimeError):
    """`train` ended with an error; the message is what it left in ``output/failure``."""


def make_tree(
    root: Path, photos: Path, hyperparameters: Mapping[str, object], weights: Path | None = None
) -> None:
    """Make the input of a training job as SageMaker makes it.

    Args:
        root: The folder to make, in place of ``/opt/ml``.
        photos: The photos directory; each split in it becomes a channel, by a link.
        hyperparameters: Written as strings, as SageMaker does.
        weights: A weights file; becomes the channel ``weights``, by a link.

    Raises:
        OSError: The tree cannot be written.
    """
    channels = {split or "train": folder for split, folder in find_roots(photos).items()}
    for made in ("input/config", "input/data", "model", "output/data", "checkpoints"):
        (root / made).mkdir(parents=True)
    for name, folder in channels.items():
        (root / "input" / "data" / name).symlink_to(folder.resolve(), target_is_directory=True)
    config: dict[str, object] = {name: {"TrainingInputMode": "File"} for name in channels}
    if weights:
        (root / "input" / "data" / "weights").mkdir()
        (root / "input" / "data" / "weights" / weights.name).symlink_to(weights.resolve())
        config["weights"] = {"TrainingInputMode": "File"}
    documents = {
        "hyperparameters.json": {name: str(value) for name, value in hyperparameters.items()},
        "inputdataconfig.json": config,
        "resourceconfig.json": {"current_host": "algo-1", "hosts": ["algo-1"]},
    }
    for name, document in documents.items():
        (root / "input" / "config" / name).write_text(json.dumps(document))


def start(root: Path, output: int | None = None) -> "subprocess.Popen[bytes]":
    """Start `train` over a tree of `make_tree`; it ends with this process at the latest.

    Args:
        root: The tree.
        output: Where it prints to, as `subprocess.Popen` takes it; None: where we do.
    """
    environment = {
        **os.environ,
        "SAGEMAKER_BASE_DIR": str(root.resolve()),
        "SAGEMAKER_TRAINING_MODULE": "dogbreeds.entrypoint.toolkit:main",
        "AWS_EC2_METADATA_DISABLED": "true",  # boto3 would look for an instance's region
    }
    return subprocess.Popen(
        [sys.executable, "-m", "dogbreeds.entrypoint.train"],
        env=environment,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        # A session of its own: Ctrl-C reaches only us, and `train` gets one SIGTERM from us.
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


def run(root: Path) -> None:
    """Run `train` to its end; on Ctrl-C or SIGTERM it is stopped before this returns.

    Args:
        root: A tree of `make_tree`.

    Raises:
        TrainingFailedError: The job failed.
    """
    process = start(root)
    try:
        code = process.wait()
    finally:
        stop(process)
    if code != 0:
        failure = root / "output" / "failure"
        reason = failure.read_text() if failure.is_file() else f"exit code {code}"
        raise TrainingFailedError(reason)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process of `start` and all that it started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
