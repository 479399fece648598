import os
from pathlib import Path

import pytest

from dogbreeds.data.sample import draw_sample


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn sample photos."""
    folder = tmp_path_factory.mktemp("photos") / "sample"
    draw_sample(folder)
    return folder


@pytest.fixture(scope="session")
def real_photos() -> Path:
    """A folder with real photos in dogImages/ and weights of MobileNetV2 beside them."""
    folder = Path(os.environ.get("DOGBREEDS_PHOTOS", "../shared/dogs"))
    if not (folder / "dogImages" / "train").is_dir():
        pytest.skip(f"no real photos at {folder}: set DOGBREEDS_PHOTOS to measure accuracy")
    return folder
