import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from dogbreeds.entrypoint.report import evaluation_report, write_html_report, write_reports
from dogbreeds.model.classes import PhotoClass
from dogbreeds.system.files import write_json
from dogbreeds.training.evaluation import Predictions

BREEDS = [PhotoClass("1", "Ant"), PhotoClass("2", "Bee"), PhotoClass("3", "Cat")]


def predictions() -> Predictions:
    """Five photos: two Ants right, one Ant taken for a Bee, two Bees taken for Cat and Ant."""
    return Predictions(
        targets=torch.tensor([0, 0, 0, 1, 1]),
        classes=torch.tensor([[0, 1], [0, 2], [1, 2], [2, 1], [0, 2]]),
        probabilities=torch.tensor([[0.9, 0.1], [0.8, 0.1], [0.6, 0.3], [0.7, 0.2], [0.5, 0.4]]),
        losses=torch.tensor([0.1, 0.2, 2.5, 1.6, 3.0]),
    )


PATHS = [Path(f"{number}.jpg") for number in range(5)]


def test_a_report_counts_what_is_taken_for_what() -> None:
    report = evaluation_report(predictions(), PATHS, BREEDS)
    assert report["confusion"] == [[2, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert report["accuracy"] == pytest.approx(0.4)
    assert report["top5"] == pytest.approx(0.6)
    assert report["loss"] == pytest.approx(7.4 / 5)
    ant, bee, cat = report["classes"]
    assert (ant["photos"], ant["accuracy"], ant["precision"]) == pytest.approx((3, 2 / 3, 2 / 3))
    assert (bee["photos"], bee["accuracy"], bee["precision"]) == (2, 0, 0)
    assert (cat["photos"], cat["accuracy"], cat["precision"]) == (0, None, 0)


def test_the_worst_mistakes_come_first_with_their_files() -> None:
    report = evaluation_report(predictions(), PATHS, BREEDS)
    assert [mistake["file"] for mistake in report["worst"]] == ["4.jpg", "2.jpg", "3.jpg"]
    assert report["worst"][0]["class_name"] == "Bee"
    assert report["worst"][0]["predicted"] == "Ant"
    assert report["worst"][0]["probability"] == pytest.approx(0.5)


@pytest.mark.parametrize("classes", [3, 60])
def test_reports_are_written_as_json_and_pictures(tmp_path: Path, classes: int) -> None:
    named = [PhotoClass(str(i), f"Breed{i}") for i in range(classes)]
    history = [{"train_loss": 2.0, "test_loss": 1.5, "test_accuracy": 0.5}]
    write_json(tmp_path / "history.json", history)  # the job writes it after each epoch
    write_reports(history, {"test": predictions()}, {"test": PATHS}, named, tmp_path)
    write_html_report(tmp_path)
    assert json.loads((tmp_path / "evaluation_test.json").read_text())["photos"] == 5
    for name in ("confusion_test.png", "learning_curves.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 300
            assert len(set(picture.convert("L").resize((50, 50)).tobytes())) > 5  # not blank
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "confusion_test.png", "evaluation_test.json", "history.json", "learning_curves.png",
        "report.html", "thumbnails.json",
    }  # fmt: skip
