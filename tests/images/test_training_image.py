"""`docker run IMAGE train` with nothing but the mounts of SageMaker's contract."""

import json
import os
import tarfile
import time
from pathlib import Path

import pytest

from dogbreeds.model import artifact
from helpers.containers import Job, MakeJob, container, logs, run, state, stop, wait_for_log

pytestmark = pytest.mark.images


def test_a_training_without_network_leaves_an_archive_that_learned(trained: Job) -> None:
    loaded = artifact.load(trained.model)
    assert [breed.name for breed in loaded.classes][:2] == ["Copper_spotter", "Blue_striper"]
    assert not trained.failure
    history = json.loads((trained.root / "output/data/history.json").read_text())
    assert len(history) == 2
    assert history[-1]["test_accuracy"] > 0.5  # six classes: chance is 0.17


def test_another_user_can_train_in_a_read_only_container(
    make_job: MakeJob, training_image: str
) -> None:
    job = make_job({"image-size": "32"})
    user = os.getuid() or 1000
    if os.getuid() == 0:
        run("chown", "--recursive", f"{user}:{user}", str(job.root))
    job.train(training_image, f"--user={user}", "--read-only", "--tmpfs=/tmp")
    assert {path.stat().st_uid for path in job.root.rglob("*")} == {user}
    assert artifact.load(job.model)


@pytest.mark.parametrize(
    ("hyperparameters", "reason"),
    [
        ({"epochs": "many"}, "epochs"),
        ({"learning-speed": "1"}, "learning-speed"),
        ({"model": "resnet1"}, "resnet1"),
    ],
)
def test_an_impossible_hyperparameter_stops_the_job_at_once(
    make_job: MakeJob, training_image: str, hyperparameters: dict[str, str], reason: str
) -> None:
    job = make_job(hyperparameters)
    started = time.monotonic()
    ended = job.train(training_image, check=False)
    assert time.monotonic() - started < 5
    assert ended.returncode != 0
    assert reason in job.failure
    assert "\n" not in job.failure.strip()


def test_absent_weights_stop_the_job_at_once(make_job: MakeJob, training_image: str) -> None:
    job = make_job({"weights": "imagenet"})
    started = time.monotonic()
    ended = job.train(training_image, check=False)
    assert time.monotonic() - started < 5
    assert ended.returncode != 0
    assert "resnet18-" in job.failure
    assert "weights=none" in job.failure


def test_a_failing_training_tells_the_real_reason(
    make_job: MakeJob, training_image: str, photos: dict[str, Path], tmp_path: Path
) -> None:
    job = make_job(channels={**photos, "train": tmp_path})
    ended = job.train(training_image, check=False)
    assert ended.returncode != 0
    assert "train" in job.failure
    assert "/opt/ml/input/data/train" in job.failure


def test_sigterm_saves_the_model_and_ends(make_job: MakeJob, training_image: str) -> None:
    job = make_job({"epochs": "1000"})
    with container(*job.arguments(training_image)) as identifier:
        wait_for_log(identifier, "Epoch 1/1000: train loss", seconds=120)
        assert stop(identifier, grace=120) < 20
        assert state(identifier)["ExitCode"] == 0, logs(identifier)
    assert not job.failure
    assert artifact.load(job.model)
    assert list((job.root / "checkpoints").iterdir())


SCRIPT_MODE = {"sagemaker_program": "mine.py", "sagemaker_submit_directory": "/opt/ml/code"}


def test_script_mode_runs_the_users_own_script(make_job: MakeJob, training_image: str) -> None:
    job = make_job({**SCRIPT_MODE, "depth": "3"}, defaults={})
    (job.root / "code/mine.py").write_text(
        """
import argparse, os, pathlib
import torch
parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int)
breeds = sorted(os.listdir(os.environ["SM_CHANNEL_TRAIN"]))
result = f"{parser.parse_args().depth} {breeds[0]} {torch.ones(2).sum().item():g}"
pathlib.Path(os.environ["SM_MODEL_DIR"], "result").write_text(result)
"""
    )
    job.train(training_image)
    assert (job.model / "result").read_text() == "3 001.Copper_spotter 2"


def test_a_failing_script_of_the_user_tells_its_error(
    make_job: MakeJob, training_image: str
) -> None:
    job = make_job(SCRIPT_MODE, defaults={})
    (job.root / "code/mine.py").write_text("raise ValueError('the breed is missing')\n")
    ended = job.train(training_image, check=False)
    assert ended.returncode != 0
    assert "the breed is missing" in job.failure


def test_train_local_leaves_files_of_the_caller_and_a_packed_model(
    training_image: str, photos: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    quick = ("epochs=1", "image-size=32", "lr=0.001")
    data = str(photos["train"].parent)
    run("docker/train-local", training_image, data, str(out), *quick, timeout=240, WEIGHTS="none")
    assert {path.stat().st_uid for path in out.rglob("*")} == {os.getuid()}
    with tarfile.open(out / "model.tar.gz") as archive:
        packed = {Path(name).name for name in archive.getnames()}
    assert {path.name for path in (out / "ml/model").iterdir()} <= packed
