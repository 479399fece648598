import base64
import csv
import io
import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from dogbreeds.entrypoint.report import (
    evaluation_report,
    write_augmented,
    write_html_report,
    write_mistakes,
    write_reports,
)
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.networks import create_model
from dogbreeds.system.files import write_json
from dogbreeds.training.evaluation import Predictions
from dogbreeds.training.selection import Result
from dogbreeds.training.settings import Settings
from helpers.small_jobs import store

HISTORY = [{"train_loss": 2.0, "test_loss": 1.5, "test_accuracy": 0.5}]
BREEDS = [PhotoClass("1", "Ant"), PhotoClass("2", "Bee"), PhotoClass("3", "Cat")]


def predictions() -> Predictions:
    """Five photos: two Ants right, one Ant taken for a Bee, two Bees taken for Cat and Ant."""
    return Predictions(
        targets=torch.tensor([0, 0, 0, 1, 1]),
        logits=torch.tensor(
            [
                [0.9, 0.06, 0.04],
                [0.8, 0.05, 0.15],
                [0.1, 0.6, 0.3],
                [0.1, 0.2, 0.7],
                [0.5, 0.05, 0.45],
            ]
        ).log(),
    )


PATHS = [Path(f"{number}.jpg") for number in range(5)]


def test_a_report_counts_what_is_taken_for_what() -> None:
    report = evaluation_report(predictions(), PATHS, BREEDS)
    assert report["confusion"] == [[2, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert report["accuracy"] == pytest.approx(0.4)
    assert report["top5"] == 1  # of three classes
    assert report["ece"] == report["uncalibrated_ece"] == pytest.approx(0.42)
    assert report["loss"] == pytest.approx(-math.log(0.9 * 0.8 * 0.1 * 0.2 * 0.05) / 5)
    ant, bee, cat = report["classes"]
    assert (ant["photos"], ant["recall"], ant["precision"]) == pytest.approx((3, 2 / 3, 2 / 3))
    assert (bee["photos"], bee["recall"], bee["precision"]) == (2, 0, 0)
    assert (cat["photos"], cat["recall"], cat["precision"]) == (0, None, 0)


def test_the_worst_mistakes_come_first_with_their_files() -> None:
    report = evaluation_report(predictions(), PATHS, BREEDS)
    assert [mistake["file"] for mistake in report["worst"]] == ["4.jpg", "2.jpg", "3.jpg"]
    assert report["worst"][0]["class_name"] == "Bee"
    assert report["worst"][0]["predicted"] == "Ant"
    assert report["worst"][0]["probability"] == pytest.approx(0.5)


@pytest.mark.parametrize("classes", [3, 60])
def test_reports_are_written_as_json_and_pictures(tmp_path: Path, classes: int) -> None:
    named = [PhotoClass(str(i), f"Breed{i}") for i in range(classes)]
    write_json(tmp_path / "history.json", HISTORY)  # the job writes it after each epoch
    write_reports(HISTORY, {"test": predictions()}, {"test": PATHS}, named, tmp_path)
    write_html_report(tmp_path, tmp_path)
    assert json.loads((tmp_path / "evaluation_test.json").read_text())["photos"] == 5
    for name in ("confusion_test.png", "learning_curves.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 300
            assert len(set(picture.convert("L").resize((50, 50)).tobytes())) > 5  # not blank
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "confusion_test.png", "evaluation_test.json", "history.json", "learning_curves.png",
        "model_card.md", "predictions_test.csv", "report.html", "thumbnails.json",
    }  # fmt: skip


def test_predictions_are_kept_one_line_per_photo(tmp_path: Path) -> None:
    write_reports(HISTORY, {"test": predictions()}, {"test": PATHS}, BREEDS, tmp_path)
    with (tmp_path / "predictions_test.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == list(map(str, PATHS))
    found = predictions()
    for row, target, loss in zip(rows, found.targets, found.losses, strict=True):
        assert row["class_id"] == BREEDS[int(target)].label
        assert float(row["probability_of_class"]) == pytest.approx(math.exp(-loss), abs=1e-5)
        assert row["top5"].split()[0] == row["predicted"]


def test_names_that_cannot_be_drawn_do_not_fail_the_job(tmp_path: Path) -> None:
    # A Latin-1 folder name as Linux gives it, mathtext that does not parse, a tab
    hostile = [PhotoClass(name, name) for name in ("\udce9t\udce9", r"$\frac$", "a\tb")]
    write_json(tmp_path / "history.json", HISTORY)
    write_reports(HISTORY, {"test": predictions()}, {"test": PATHS}, hostile, tmp_path)
    write_html_report(tmp_path, tmp_path)
    written = {file.name for file in tmp_path.iterdir()}
    assert {"confusion_test.png", "predictions_test.csv", "report.html"} <= written


def test_a_picture_that_cannot_be_made_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such font")

    monkeypatch.setattr("dogbreeds.entrypoint.report._draw_confusion", fail)
    write_reports(HISTORY, {"test": predictions()}, {"test": PATHS}, BREEDS, tmp_path)
    assert "warning: no confusion_test.png: no such font" in capsys.readouterr().err
    assert (tmp_path / "learning_curves.png").is_file()


def test_the_worst_mistakes_are_kept_with_what_led_to_them(tmp_path: Path) -> None:
    photos = store((3, 2, 0))
    result = Result(create_model("squeezenet1_1", 3), {"test_loss": 1.5})
    settings = Settings(image_size=32)
    write_mistakes(result, {"test": photos}, {"test": predictions()}, settings, tmp_path)
    found = json.loads((tmp_path / "grad_cam.json").read_text())
    assert list(found) == ["4.jpg", "2.jpg", "3.jpg"]
    assert all(picture.startswith("data:image/webp;base64,") for picture in found.values())
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_mistake_that_can_no_longer_be_read_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(*_: object) -> None:
        raise FileNotFoundError("4.jpg is gone")

    photos, result = store((3, 2, 0)), Result(create_model("squeezenet1_1", 3), {})
    monkeypatch.setattr(photos, "batches", gone)
    write_mistakes(result, {"test": photos}, {"test": predictions()}, Settings(), tmp_path)
    assert "warning: no grad_cam.json: 4.jpg is gone" in capsys.readouterr().err


def test_what_a_transformer_looked_at_is_not_shown(tmp_path: Path) -> None:
    result = Result(create_model("squeezenet1_1", 3), {})
    settings = Settings(model="vit_b_16")
    write_mistakes(result, {"test": store((3, 2))}, {"test": predictions()}, settings, tmp_path)
    assert not (tmp_path / "grad_cam.json").exists()


def test_six_training_photos_are_kept_with_what_augmentation_makes_of_them(tmp_path: Path) -> None:
    photos = store(noise=90)
    write_augmented(photos, Settings(image_size=32, augmentation="strong"), tmp_path)
    found = json.loads((tmp_path / "augmented.json").read_text())
    assert len({photo["file"] for photo in found}) == 6
    for photo in found:
        assert len(set(photo["pictures"])) == 4
        for address in photo["pictures"]:
            data = base64.b64decode(address.removeprefix("data:image/webp;base64,"))
            with Image.open(io.BytesIO(data)) as picture:
                assert picture.size == (32, 32)


def test_without_augmentation_there_is_none_to_show(tmp_path: Path) -> None:
    write_augmented(store(), Settings(image_size=32, augmentation="none"), tmp_path)
    assert list(tmp_path.iterdir()) == []
