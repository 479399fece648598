"""Runs sagemaker-training's `train` on a private directory tree like ``/opt/ml``."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from dogbreeds.data.folders import find_roots
from dogbreeds.data.split import ensure_split
from dogbreeds.local import epochs
from dogbreeds.model.architectures import ModelError, find_imagenet_weights
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.processes import die_with_parent, stop_group
from dogbreeds.training.settings import Settings

SPLIT_PHOTOS = "split-photos"
"""The folder, next to the results, for photos that came without splits."""
_STOP_SECONDS = 25  # the job saves and ends within 20 s of SIGTERM

Start = Callable[[Path, int | None], "subprocess.Popen[bytes]"]
"""Starts a job as `start` does."""


class TrainingFailedError(DogbreedsError, RuntimeError):
    """`train` failed; the message is the content of ``output/failure``."""


def make_tree(
    root: Path, photos: Path, hyperparameters: Mapping[str, object], weights: Path | None = None
) -> None:
    """Create the input of a training job as SageMaker does, in `root` instead of ``/opt/ml``.

    Each split of the photos directory is linked as a channel, and a weights file in the channel
    ``weights``. OSError if the tree cannot be written.
    """
    channels = {split or "train": folder for split, folder in find_roots(photos).items()}
    for created in ("input/config", "input/data", "model", "output/data", "checkpoints"):
        (root / created).mkdir(parents=True)
    data = root / "input" / "data"
    for name, folder in channels.items():
        (data / name).symlink_to(folder.resolve(), target_is_directory=True)
    if weights:
        (data / "weights").mkdir()
        (data / "weights" / weights.name).symlink_to(weights.resolve())
    names = [*channels, *(["weights"] if weights else [])]
    documents = {
        "hyperparameters": {name: str(value) for name, value in hyperparameters.items()},
        "inputdataconfig": {name: {"TrainingInputMode": "File"} for name in names},
        "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1"]},
    }
    for name, document in documents.items():
        (root / "input" / "config" / f"{name}.json").write_text(json.dumps(document))


def start(root: Path, output: int | None = None) -> "subprocess.Popen[bytes]":
    """Start `train` on a tree of `make_tree`; it ends with this process at the latest.

    `output` is where it prints to, as for `subprocess.Popen`; None: where we do.
    """
    environment = {
        **os.environ,
        "SAGEMAKER_BASE_DIR": str(root.resolve()),
        "SAGEMAKER_TRAINING_MODULE": "dogbreeds.entrypoint.toolkit:main",
        "AWS_EC2_METADATA_DISABLED": "true",  # boto3 would look for an instance's region
        "TQDM_MININTERVAL": update_seconds(),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "dogbreeds.entrypoint.train"], env=environment,
        stdout=output, stderr=None if output is None else subprocess.STDOUT,
        # In its own session Ctrl-C reaches only us, and `train` gets one SIGTERM from us.
        start_new_session=True, preexec_fn=die_with_parent,
    )  # fmt: skip


def update_seconds() -> str:
    """Return the seconds between two updates of tqdm, which `epochs` copies to the terminal."""
    return "0.5" if sys.stderr.isatty() else "30"


def run(root: Path, log: Path, start: Start = start) -> None:
    """Run `train` on a tree of `make_tree`; Ctrl-C or SIGTERM stops it before this returns.

    `log` gets all that it prints; the terminal shows the epochs. TrainingFailedError if it fails.
    """
    process = start(root, subprocess.PIPE)
    assert process.stdout is not None  # it is a pipe  # noqa: S101
    try:
        epochs.show(process.stdout, log)
        code = process.wait()
    finally:
        stop(process)
    if code != 0:
        raise TrainingFailedError(f"{failure_reason(root, code)} (its log is {log})")


def failure_reason(root: Path, code: int) -> str:
    """Return why `train` failed on a tree: its ``output/failure``, or else its exit code."""
    failure = root / "output" / "failure"
    return failure.read_text() if failure.is_file() else f"exit code {code}"


def train(
    photos: Path, out: Path, hyperparameters: Mapping[str, object], weights: str | None = None,
    start: Start = start, *, find_weights: bool = True,
) -> Path:  # fmt: skip
    """Train in this Python environment, or where another `start` does.

    It replaces ``model.tar.gz``, the job's tree ``opt-ml``, ``train.log`` and `SPLIT_PHOTOS` in
    `out`, and returns the artifact. `weights` is that of `starting_weights`; with `find_weights`
    false, ImageNet's are left to the job. SettingsError for invalid hyperparameters; PhotosError or
    ModelError if photos or weights are missing; TrainingFailedError, with the reason, if it fails.
    """
    from dogbreeds.model import artifact  # imports torch, which takes seconds

    tree = out / "opt-ml"
    for replaced in (out / SPLIT_PHOTOS, tree):
        shutil.rmtree(replaced, ignore_errors=True)
    Settings.from_mapping(hyperparameters)
    photos = ensure_split(photos, out / SPLIT_PHOTOS)
    file, given = starting_weights(weights, hyperparameters, find=find_weights)
    make_tree(tree, photos, given, file)
    run(tree, out / "train.log", start)
    artifact.pack(tree / "model", out / artifact.TAR_FILE)
    return out / artifact.TAR_FILE


def summary(out: Path) -> str:
    """Return the accuracy that `train` reached and the paths of its results, as text."""
    from dogbreeds.model import artifact

    metrics = artifact.read_document(out / artifact.TAR_FILE)["metrics"]
    split = "test" if "test_accuracy" in metrics else "valid"
    report = out / "opt-ml/output/data/report.html"
    return (f"{split} accuracy {metrics[f'{split}_accuracy']:.2%}.\nThe artifact is"
            f" {out / artifact.TAR_FILE}.\nThe report, for a browser, is {report}.")  # fmt: skip


def starting_weights(
    weights: str | None, hyperparameters: Mapping[str, object], *, find: bool = True
) -> tuple[Path | None, dict[str, object]]:
    """Find the weights file to start from; with `find` also ImageNet's, downloaded if needed.

    `weights` is a file, ``"none"``, or None to follow the hyperparameters. Returned are the file,
    if any, and the hyperparameters with a ``weights`` that matches it. ModelError if it is missing.
    """
    given = dict(hyperparameters)
    if weights == "none":
        given["weights"] = "none"
    elif weights:
        if not Path(weights).is_file():
            raise ModelError(f"expected a weights file, found none at {weights}")
        return Path(weights), {**given, "weights": Path(weights).name}
    if not find or given.get("weights", "imagenet") != "imagenet":
        return None, given
    model = str(given.get("model", "resnet18"))
    try:
        file = find_imagenet_weights(model)
    except ModelError:
        from dogbreeds.model.networks import fetch_imagenet_weights

        print(f"Downloading the ImageNet weights of {model}", flush=True)
        try:
            file = fetch_imagenet_weights(model, Path("build/weights"))
        except OSError as error:
            raise ModelError(f"cannot download the ImageNet weights of {model} ({error}): name a"
                             " file with --weights FILE, or train from scratch with --weights none"
                             ) from error  # fmt: skip
    return file, {**given, "weights": file.name}


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process of `start` and its descendants."""
    stop_group(process, _STOP_SECONDS)
