"""Likely wrong labels are those that a model's own confidence contradicts."""

import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from dogbreeds.data import check_report
from dogbreeds.data.check import check
from dogbreeds.data.doubts import add_doubts, find_doubtful
from dogbreeds.model.classes import PhotoClass

CLASSES = (PhotoClass("000", "Red"), PhotoClass("001", "Green"))


def test_a_label_is_doubted_if_it_is_less_likely_and_another_as_likely_as_usual() -> None:
    probabilities = np.array(
        [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.99, 0.01]], np.float32
    )
    given = np.array([0, 0, 1, 1, 0, 1])
    assert find_doubtful(given, probabilities) == [(5, 0), (4, 1)]


def test_each_class_is_measured_by_how_sure_the_model_usually_is_of_it() -> None:
    unsure, sure = [0.45, 0.55], [0.01, 0.99]  # class 0 is usually seen with 0.45
    probabilities = np.array([unsure] * 4 + [sure] * 3 + [[0.5, 0.5]], np.float32)
    assert find_doubtful(np.array([0] * 4 + [1] * 4), probabilities) == [(7, 0)]


def predict_by_color(photos: list[bytes]) -> npt.NDArray[np.float32]:
    means = [np.asarray(Image.open(io.BytesIO(data)), float).mean((0, 1))[:2] for data in photos]
    return np.array([mean / mean.sum() for mean in means], np.float32)


def test_doubts_are_named_and_shown_and_do_not_make_a_folder_unclean(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, folder, channel, count in (
        ("train", "000.Red", 0, 5),
        ("train", "001.Green", 1, 5),
        ("test", "000.Red", 0, 2),
        ("test", "001.Green", 1, 2),
        ("train", "001.Green", 0, 1),  # the wrong one: red in the folder of green
        ("train", "002.Unknown", 1, 1),
    ):
        target = tmp_path / split / folder
        target.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = rng.integers(0, 40, (6, 8, 3), dtype=np.uint8)
            pixels[..., channel] += 180 if count > 1 else 215
            image = Image.fromarray(pixels).resize((96, 72), Image.Resampling.BICUBIC)
            image.save(target / f"{split}_{channel}_{number}.png")
    (tmp_path / "train" / "000.Red" / "broken.png").write_text("no photo")
    checked = check(tmp_path, 1)
    add_doubts(checked, CLASSES, predict_by_color)
    [found] = checked.report["findings"]["label"]
    assert found["photo"] == "train/001.Green/train_0_0.png"
    assert found["detail"].startswith("Red by the model (")
    assert "002.Unknown" in str(checked.report["notes"])
    assert set(checked.offenders) == {"train/000.Red/broken.png"}
    assert "train_0_0.png: Red by the model" in check_report.text(checked)
    shown = check_report.html(checked).partition('id="data">')[2].partition("</script>")[0]
    assert "Red by the model" in shown
    assert "train/001.Green/train_0_0.png" in json.loads(shown)["thumbnails"]
