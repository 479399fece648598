"""The endpoint says what training's own evaluation says, of every photo of the test split.

Over real photos where they are (see `DOGBREEDS_PHOTOS`), otherwise over the drawn sample.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from dogbreeds.data.folders import find_photos
from dogbreeds.data.pixels import decode_split
from dogbreeds.local import training
from dogbreeds.model import artifact
from dogbreeds.model.classes import PhotoClass
from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.evaluation import Predictions, evaluate
from helpers.serving_process import Answer, serving

pytestmark = pytest.mark.integration


class Asked(NamedTuple):
    """What training's evaluation and the endpoint say of the same photos."""

    classes: tuple[PhotoClass, ...]
    predictions: Predictions
    answers: list[Answer]


def ask(folder: Path, photos: Path, settings: dict[str, str], weights: Path | None) -> Asked:
    """Train with the real `train`, evaluate as it does, and ask the real server."""
    (folder / "photos").mkdir()
    for split in ("train", "test"):  # without `valid`: half a minute less
        (folder / "photos" / split).symlink_to((photos / split).resolve())
    training.make_tree(folder / "ml", folder / "photos", settings, weights)
    training.run(folder / "ml", folder / "train.log")
    loaded = artifact.load(folder / "ml/model")
    _, splits = find_photos({split: photos / split for split in ("train", "test")})
    decoded = decode_split(splits["test"], loaded.preprocessing, workers=2)
    device = Device(torch.device("cpu"), None)
    predictions = evaluate(
        loaded.model, PixelStore(decoded, loaded.preprocessing, device), device, batch_size=32
    )
    predictions = dataclasses.replace(predictions, temperature=loaded.temperature)
    assert predictions.accuracy == pytest.approx(loaded.metrics["test_accuracy"])
    assert predictions.loss == pytest.approx(loaded.metrics["test_loss"], rel=1e-3)
    with serving(folder / "ml/model") as server, ThreadPoolExecutor(16) as pool:
        server.wait_until_ready()
        bodies = [photo.read_bytes() for photo in splits["test"].paths]
        answers = list(pool.map(server.invoke, bodies))
    return Asked(loaded.classes, predictions, answers)


def check(asked: Asked) -> None:
    """Each photo's classes and probabilities are the same."""
    assert len(asked.answers) == len(asked.predictions.targets)
    told = zip(asked.predictions.classes, asked.predictions.probabilities, strict=True)
    for answer, (classes, probabilities) in zip(asked.answers, told, strict=True):
        assert answer.status == 200, answer.body
        document = answer.json()
        assert document["predicted_label"] == asked.classes[int(classes[0])].label
        top = document["top_k"]
        assert isinstance(top, list)
        found = [entry["probability"] for entry in top]
        assert found == pytest.approx(probabilities.tolist(), abs=1e-3)


def test_the_endpoint_agrees_with_trainings_evaluation(sample: Path, tmp_path: Path) -> None:
    settings = {
        "model": "resnet18", "weights": "none", "image_size": "64", "epochs": "2",
        "quantize": "false",  # int8 is as accurate, but not the same
    }  # fmt: skip
    check(ask(tmp_path, sample, settings, None))


@pytest.mark.photos
@pytest.mark.timeout(600)
def test_nine_of_ten_unseen_photos_are_told_right(real_photos: Path, tmp_path: Path) -> None:
    weights = real_photos / "mobilenet_v2_imagenet.pth"
    settings = {
        "model": "mobilenet_v2", "weights": weights.name, "epochs": "0", "quantize": "false"
    }  # fmt: skip
    asked = ask(tmp_path, real_photos / "dogImages", settings, weights)
    check(asked)
    labels = [asked.classes[int(target)].label for target in asked.predictions.targets]
    right = sum(
        answer.json()["predicted_label"] == label
        for answer, label in zip(asked.answers, labels, strict=True)
    )
    assert right / len(labels) >= 0.9
