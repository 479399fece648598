"""The real `train` command over private trees of /opt/ml's shape."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
import torch

from dogbreeds.job_output.metrics import METRIC_DEFINITIONS
from dogbreeds.local import training
from dogbreeds.model import artifact
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.networks import create_model

T = TypeVar("T")
pytestmark = pytest.mark.integration

# A network that learns the sample in seconds.
SMALL = {
    "model": "resnet18",
    "weights": "none",
    "image_size": "32",
    "epochs": "2",
    "lr": "0.003",
    "quantize": "false",
}


def train(tree: Path, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
    """Run `train` as the image does, and keep what it prints."""
    process = training.start(tree, subprocess.PIPE)
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        training.stop(process)
    return subprocess.CompletedProcess("train", process.returncode, output.decode(), "")


def program_of(process: "subprocess.Popen[bytes]") -> psutil.Process:
    """Wait for the training program, the child of `train`, and return it."""
    return wait_for(lambda: next(iter(psutil.Process(process.pid).children()), None), 30)


def loads_pytorch(process: psutil.Process) -> bool:
    return any("libtorch" in file.path for file in process.memory_maps())


def wait_for(condition: Callable[[], T | None], seconds: float) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (value := condition()) is not None:
            return value
        time.sleep(0.02)
    raise TimeoutError(f"nothing within {seconds} s")


def failure(tree: Path) -> str:
    return (tree / "output" / "failure").read_text()


def small_photos(sample: Path, folder: Path, photos: int = 12) -> Path:
    """Copy a few photos of each breed of the sample."""
    for split in ("train", "test"):
        for breed in (sample / split).iterdir():
            (folder / split / breed.name).mkdir(parents=True)
            for path in sorted(breed.iterdir())[:photos]:
                shutil.copy(path, folder / split / breed.name)
    return folder


def test_train_leaves_an_archive_reports_and_metrics_that_sagemaker_finds(
    sample: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "ml"
    training.make_tree(tree, sample, {**SMALL, "quantize": "true"})
    result = train(tree)
    assert result.returncode == 0, result.stdout
    assert not (tree / "output" / "failure").exists()

    loaded = artifact.load(tree / "model")
    assert loaded.classes[0] == PhotoClass("001", "Copper_spotter")
    assert len(loaded.classes) == 6
    assert loaded.preprocessing.image_size == 32
    assert loaded.metrics["test_accuracy"] > 0.1
    assert loaded.provenance["hyperparameters"]["lr"] == 0.003
    assert loaded.provenance["data"]["test"]["photos"] == 6 * 8
    assert (tree / "model" / "model_card.md").is_file()

    history = json.loads((tree / "output" / "data" / "history.json").read_text())
    assert len(history) == 2
    for definition in METRIC_DEFINITIONS:
        found = re.findall(definition["Regex"], result.stdout)
        logged = [float(value) for value in found]
        assert logged == pytest.approx([epoch[definition["Name"]] for epoch in history], rel=1e-4)
    assert len(re.findall(r"Epoch \d/2: train loss .* test loss .* test accuracy", result.stdout))

    report = json.loads((tree / "output" / "data" / "evaluation_test.json").read_text())
    assert report["accuracy"] == pytest.approx(history[-1]["test_accuracy"])
    assert sum(map(sum, report["confusion"])) == 6 * 8
    assert all(Path(mistake["file"]).is_file() for mistake in report["worst"])
    assert {path.name for path in (tree / "output" / "data").iterdir()} == {
        "history.json", "photos.json", "learning_curves.png",
        "evaluation_test.json", "confusion_test.png", "evaluation_valid.json",
        "confusion_valid.png", "job.json", "thumbnails.json", "report.html",
        "predictions_test.csv", "predictions_valid.csv",
        "phases.json", "profiler", "tensorboard", "graphs.json", "model_card.md",
        "augmented.json", "grad_cam.json", "step_losses.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("hyperparameters", "reason"),
    [
        ({"learning_speed": "1"}, "unknown hyperparameter learning_speed"),
        ({"lr": "fast"}, "hyperparameter lr: expected a number from 1e-08 to 10, got 'fast'"),
        ({"model": "resnet99"}, "expected a torchvision classifier"),
        ({"weights": "mine.pth"}, "hyperparameter weights: expected the file mine.pth"),
        ({"model": "vgg19"}, "weights=imagenet asks for vgg19-*.pth, which is not in"),
    ],
)
def test_an_impossible_job_stops_at_once_with_a_reason(
    sample: Path, tmp_path: Path, hyperparameters: Mapping[str, str], reason: str
) -> None:
    tree = tmp_path / "ml"
    training.make_tree(tree, sample, hyperparameters)
    started = time.monotonic()
    result = train(tree)
    seconds = time.monotonic() - started
    assert result.returncode != 0
    assert failure(tree).startswith(reason)
    assert len(failure(tree).splitlines()) == 1
    assert seconds < 5
    assert list((tree / "model").iterdir()) == []


def _no_test_split(photos: Path) -> None:
    shutil.rmtree(photos / "test")


def _empty_train(photos: Path) -> None:
    for breed in (photos / "train").iterdir():
        shutil.rmtree(breed)


def _class_of_broken_photos(photos: Path) -> None:
    for path in (photos / "train" / "002.Blue_striper").iterdir():
        path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_no_test_split, "expected a split valid or test to measure accuracy on, got only train"),
        (
            _empty_train,
            "expected class folders such as 069.French_bulldog, or shards, in split",
        ),
        (_class_of_broken_photos, "class Blue_striper has no photo in train that can be decoded"),
    ],
)
def test_photos_that_cannot_be_trained_on_fail_the_job_with_the_reason(
    sample: Path, tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    photos = small_photos(sample, tmp_path / "photos")
    damage(photos)
    training.make_tree(tmp_path / "ml", photos, SMALL)
    result = train(tmp_path / "ml")
    assert result.returncode != 0
    assert failure(tmp_path / "ml").startswith(reason)


def test_a_broken_photo_is_left_out_and_named_without_a_cache_too(
    sample: Path, tmp_path: Path
) -> None:
    photos = small_photos(sample, tmp_path / "photos")
    first, second, *_ = sorted((photos / "train" / "001.Copper_spotter").iterdir())
    first.write_bytes(first.read_bytes()[:-500])
    second.write_text("no photo")
    training.make_tree(tmp_path / "ml", photos, {**SMALL, "epochs": "1", "pixel_cache": "none"})
    result = train(tmp_path / "ml")
    assert result.returncode == 0, result.stdout
    assert "Pixel cache: none" in result.stdout
    report = json.loads((tmp_path / "ml" / "output" / "data" / "photos.json").read_text())
    assert {Path(path).name for path in report["train"]["broken"]} == {first.name, second.name}
    # A part of the training photos stands in for the missing split valid.
    assert report["train"]["photos"] + report["valid"]["photos"] == 6 * 12 - 2
    assert f"{first.name}: " in result.stdout
    assert "truncated" in result.stdout


def test_sigterm_saves_what_there_is_and_ends_cleanly(sample: Path, tmp_path: Path) -> None:
    tree = tmp_path / "ml"
    training.make_tree(tree, sample, {**SMALL, "epochs": "500"})
    process = training.start(tree, subprocess.DEVNULL)
    try:
        wait_for(lambda: next((tree / "model").glob("*.safetensors"), None), 60)
        program = program_of(process)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        training.stop(process)
    assert not program.is_running()
    assert artifact.load(tree / "model").metrics
    assert list((tree / "checkpoints").iterdir())


def test_a_job_killed_anywhere_resumes_to_the_same_weights(sample: Path, tmp_path: Path) -> None:
    photos = small_photos(sample, tmp_path / "photos", photos=40)
    # A small network: what counts here are many checkpoints, not large ones.
    model = {"model": "shufflenet_v2_x0_5", "epochs": "8", "batch_size": "16"}
    hyperparameters = {**SMALL, **model, "checkpoint_seconds": "1"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    training.make_tree(whole, photos, hyperparameters)
    assert train(whole).returncode == 0

    # Where pixels are kept changes nothing of what is learned.
    training.make_tree(killed, photos, {**hyperparameters, "pixel_cache": "file"})
    for checkpoints in (1, 3):
        process = training.start(killed, subprocess.DEVNULL)
        try:
            seen = wait_for(lambda: _newest_step(killed) or None, 60)
            wait_for(lambda: (_newest_step(killed) >= seen + checkpoints) or None, 60)  # noqa: B023
            program_of(process).kill()
            assert process.wait(20) != 0
        finally:
            training.stop(process)
        assert "was killed (signal 9)" in failure(killed)
        (killed / "output" / "failure").unlink()
    result = train(killed)
    assert result.returncode == 0, result.stdout
    assert "Resumed at step" in result.stdout

    one, other = (artifact.load(tree / "model").model.state_dict() for tree in (whole, killed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def _newest_step(tree: Path) -> int:
    steps = [int(path.stem.split("-")[1]) for path in (tree / "checkpoints").glob("*.pt")]
    return max(steps, default=0)


def test_a_checkpoint_of_another_job_is_refused(sample: Path, tmp_path: Path) -> None:
    photos = small_photos(sample, tmp_path / "photos")
    training.make_tree(tmp_path / "first", photos, {**SMALL, "epochs": "1"})
    assert train(tmp_path / "first").returncode == 0
    training.make_tree(tmp_path / "second", photos, {**SMALL, "epochs": "1", "lr": "0.001"})
    shutil.copytree(
        tmp_path / "first" / "checkpoints", tmp_path / "second" / "checkpoints", dirs_exist_ok=True
    )
    assert train(tmp_path / "second").returncode != 0
    assert "was made with lr = 0.003, this job has 0.001" in failure(tmp_path / "second")


def script_mode(tree: Path, sample: Path, script: str) -> None:
    """Make a job that brings its own script, as the SageMaker SDK does."""
    (tree.parent / "source").mkdir()
    (tree.parent / "source" / "mine.py").write_text(script)
    hyperparameters = {
        "sagemaker_program": "mine.py",
        "sagemaker_submit_directory": str(tree.parent / "source"),
        "depth": "3",
    }
    training.make_tree(tree, sample, hyperparameters)


def test_a_users_own_script_runs_without_a_rebuild(sample: Path, tmp_path: Path) -> None:
    tree = tmp_path / "ml"
    script_mode(
        tree,
        sample,
        "import os, sys, pathlib, torch, dogbreeds\n"
        "pathlib.Path(os.environ['SM_MODEL_DIR'], 'args').write_text(' '.join(sys.argv[1:]))\n",
    )
    result = train(tree)
    assert result.returncode == 0, result.stdout
    assert (tree / "model" / "args").read_text() == "--depth 3"


def test_the_error_of_a_users_script_is_the_failure_reason(sample: Path, tmp_path: Path) -> None:
    script_mode(tmp_path / "ml", sample, "raise ValueError('my own mistake')\n")
    assert train(tmp_path / "ml").returncode != 0
    assert "ValueError: my own mistake" in failure(tmp_path / "ml")[:1024]


@pytest.mark.parametrize(
    ("program", "source", "reason"),
    [
        ("other.py", "", "expected the script other.py (sagemaker_program) in"),
        ("mine.py", "nowhere", "expected the script mine.py (sagemaker_program) in"),
    ],
)
def test_a_missing_script_is_named_in_one_line(
    sample: Path, tmp_path: Path, program: str, source: str, reason: str
) -> None:
    tree = tmp_path / "ml"
    script_mode(tree, sample, "")
    file = tree / "input" / "config" / "hyperparameters.json"
    hyperparameters = {**json.loads(file.read_text()), "sagemaker_program": program}
    if source:
        hyperparameters["sagemaker_submit_directory"] = str(tmp_path / source)
    file.write_text(json.dumps(hyperparameters))
    result = train(tree)
    assert result.returncode != 0
    assert failure(tree).startswith(reason)
    assert len(failure(tree).splitlines()) == 1
    assert len(failure(tree)) <= 1024
    assert "Traceback" not in result.stdout
    assert "Framework Error" not in result.stdout


def test_broken_hyperparameters_are_named_in_one_line(sample: Path, tmp_path: Path) -> None:
    tree = tmp_path / "ml"
    training.make_tree(tree, sample, SMALL)
    (tree / "input" / "config" / "hyperparameters.json").write_text('{"lr": ')
    result = train(tree)
    assert result.returncode != 0
    assert "hyperparameters.json: Expecting value" in failure(tree)
    assert "Traceback" not in result.stdout


def test_sigterm_reaches_a_users_script(sample: Path, tmp_path: Path) -> None:
    tree = tmp_path / "ml"
    script_mode(
        tree,
        sample,
        "import os, pathlib, signal, sys, time\n"
        "out = pathlib.Path(os.environ['SM_MODEL_DIR'])\n"
        "def stop(*_): (out / 'stopped').touch(); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "(out / 'ready').touch()\n"
        "time.sleep(60)\n",
    )
    process = training.start(tree, subprocess.DEVNULL)
    try:
        wait_for(lambda: (tree / "model" / "ready").exists() or None, 30)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        training.stop(process)
    assert (tree / "model" / "stopped").exists()


def test_what_waits_for_the_program_does_not_load_pytorch(sample: Path, tmp_path: Path) -> None:
    tree = tmp_path / "ml"
    training.make_tree(tree, sample, {**SMALL, "epochs": "500"})
    process = training.start(tree, subprocess.DEVNULL)
    try:
        wait_for(lambda: next((tree / "model").glob("*.safetensors"), None), 60)
        assert loads_pytorch(program_of(process))
        assert not loads_pytorch(psutil.Process(process.pid))
    finally:
        training.stop(process)


def test_nothing_of_a_job_outlives_its_parent(sample: Path, tmp_path: Path) -> None:
    tree = tmp_path / "ml"
    training.make_tree(tree, sample, {**SMALL, "epochs": "500"})
    process = training.start(tree, subprocess.DEVNULL)
    try:
        program = program_of(process)
        wait_for(lambda: next((tree / "model").glob("*.safetensors"), None), 60)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert program.wait(20) in (0, None)
    finally:
        training.stop(process)
    assert artifact.load(tree / "model").metrics


def test_sigterm_during_head_first_leaves_a_model(sample: Path, tmp_path: Path) -> None:
    photos = small_photos(sample, tmp_path / "photos", photos=40)
    model = create_model("resnet18", 1000)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    tree = tmp_path / "ml"
    settings = {"weights": "weights.pth", "image_size": "224", "batch_size": "2"}
    training.make_tree(tree, photos, settings, tmp_path / "weights.pth")
    process = training.start(tree, subprocess.PIPE)
    try:
        assert process.stdout is not None
        output = b""
        while b"Linear probe" not in output:
            output += os.read(process.stdout.fileno(), 4096)
        process.terminate()
        output += process.communicate(timeout=20)[0]
    finally:
        training.stop(process)
    assert process.returncode == 0, output
    assert b"Stopped at step 0: the model is saved" in output
    assert artifact.load(tree / "model").architecture == "resnet18"
    assert list((tree / "checkpoints").iterdir()) == []
