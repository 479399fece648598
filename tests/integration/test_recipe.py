"""The default recipe on photos that ImageNet's weights do not know: sign-language digits."""

import json
import subprocess
from pathlib import Path

import pytest

from dogbreeds.local import training

pytestmark = [pytest.mark.integration, pytest.mark.photos, pytest.mark.timeout(700)]
PER_CLASS = 80  # training photos, of 100


def test_the_default_recipe_learns_hands_beyond_its_linear_probe(
    real_photos: Path, tmp_path: Path
) -> None:
    hands = real_photos.parent / "sets" / "hands"
    if not (hands / "train").is_dir():
        pytest.skip(f"no photos of hands at {hands}, beside DOGBREEDS_PHOTOS")
    for split in ("train", "valid", "test"):
        for folder in sorted((hands / split).iterdir()):
            (tmp_path / "photos" / split / folder.name).mkdir(parents=True)
            for photo in sorted(folder.iterdir())[:PER_CLASS]:
                link = tmp_path / "photos" / split / folder.name / photo.name
                link.symlink_to(photo.resolve())
    weights = real_photos / "mobilenet_v2_imagenet.pth"
    # A smaller image than the default's 224 takes a third of the time.
    settings = {"model": "mobilenet_v2", "weights": weights.name, "image_size": "128",
                "quantize": "false"}  # fmt: skip
    training.make_tree(tmp_path / "ml", tmp_path / "photos", settings, weights)
    process = training.start(tmp_path / "ml", subprocess.PIPE)
    try:
        output = process.communicate(timeout=600)[0].decode()
    finally:
        training.stop(process)
    assert process.returncode == 0, output
    last = json.loads((tmp_path / "ml/output/data/history.json").read_text())[-1]
    assert last["valid_accuracy"] > last["probe_valid_accuracy"]
    assert last["valid_loss"] < last["probe_valid_loss"]
    assert last["test_accuracy"] > 0.95
    evaluation = json.loads((tmp_path / "ml/output/data/evaluation_test.json").read_text())
    assert evaluation["ece"] < evaluation["uncalibrated_ece"]
    assert "Chosen: " in output
