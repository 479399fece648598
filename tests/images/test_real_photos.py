"""Real photos and real ImageNet weights, from a training container to answers."""

import os
import shutil
from pathlib import Path

import pytest

from helpers.containers import REPOSITORY, SPLITS, MakeJob, server

pytestmark = [pytest.mark.images, pytest.mark.photos]

BREEDS, TRAIN_PHOTOS, OTHER_PHOTOS = 8, 24, 5


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A folder with a few breeds of the real photos, and the weights."""
    root = REPOSITORY / os.environ.get("DOGBREEDS_PHOTOS", "../shared/dogs")
    if not (root / "dogImages").is_dir():
        pytest.skip(f"no dogImages/ in {root}: name the folder with DOGBREEDS_PHOTOS")
    for split in SPLITS:
        count = TRAIN_PHOTOS if split == "train" else OTHER_PHOTOS
        for breed in sorted((root / "dogImages" / split).iterdir())[:BREEDS]:
            target = tmp_path / split / breed.name
            target.mkdir(parents=True)
            for photo in sorted(breed.iterdir())[:count]:
                shutil.copy(photo, target)
    (tmp_path / "weights").mkdir()
    shutil.copy(root / "mobilenet_v2_imagenet.pth", tmp_path / "weights")
    return tmp_path


def test_breeds_are_told_on_real_photos(
    real: Path, make_job: MakeJob, training_image: str, serving_image: str
) -> None:
    job = make_job(
        {"model": "mobilenet_v2", "weights": "mobilenet_v2_imagenet.pth", "epochs": "1"},
        channels={name: real / name for name in (*SPLITS, "weights")},
        defaults={},
    )
    job.train(training_image)
    photos = sorted((real / "test").glob("*/*"))
    with server(serving_image, job.model) as running:
        running.wait_until_ready()
        told = [running.invoke(photo.read_bytes(), "image/jpeg").json() for photo in photos]
    right = sum(
        f"{answer['predicted_label']}.{answer['class_name']}" == photo.parent.name
        for answer, photo in zip(told, photos, strict=True)
    )
    assert right / len(photos) > 0.8
