from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dogbreeds.data.folders import Split, find_photos
from dogbreeds.data.inspection import inspect, warnings
from dogbreeds.data.pixels import DecodedSplit, decode_split
from dogbreeds.model.preprocessing import Preprocessing


def photo(seed: int, size: tuple[int, int] = (60, 80)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of four photos in two splits, all different."""
    for split in range(2):
        for breed in range(2):
            folder = tmp_path / ("train", "test")[split] / f"00{breed}.Breed{breed}"
            folder.mkdir(parents=True)
            for number in range(4):
                seed = split * 100 + breed * 10 + number
                photo(seed).save(folder / f"{number}.jpg", quality=95)
    return tmp_path


def read(photos: Path) -> tuple[dict[str, DecodedSplit], dict[str, Split]]:
    _, splits = find_photos({name: photos / name for name in ("train", "test")})
    decoded = {
        name: decode_split(split, Preprocessing(36, 36), workers=1, cache="none")
        for name, split in splits.items()
    }
    return decoded, splits


def test_nothing_odd_is_reported_of_good_photos(photos: Path) -> None:
    report = inspect(*read(photos), image_size=32)
    assert report["train"] == {
        "photos": 8, "broken": {}, "ignored": [], "left_out": {}, "small": {},
    }  # fmt: skip
    assert (report["duplicates"], report["leaks"], report["conflicts"]) == ([], 0, 0)
    assert warnings(report) == []


def test_a_copy_within_a_class_is_named(photos: Path) -> None:
    first = photos / "train" / "000.Breed0" / "0.jpg"
    (first.parent / "copy.jpg").write_bytes(first.read_bytes())
    report = inspect(*read(photos), image_size=32)
    assert report["duplicates"] == [
        {
            "files": [str(first), str(first.parent / "copy.jpg")],
            "splits": ["train"],
            "classes": ["000.Breed0"],
        }
    ]
    assert (report["leaks"], report["conflicts"]) == (0, 0)


def test_a_copy_with_other_metadata_that_leaks_into_the_test_is_found(photos: Path) -> None:
    original = photo(7)
    original.save(photos / "train" / "000.Breed0" / "new.png")
    exif = Image.Exif()
    exif[0x010E] = "another description"
    original.save(photos / "test" / "000.Breed0" / "other.png", exif=exif)
    report = inspect(*read(photos), image_size=32)
    assert report["leaks"] == 1
    assert any("in another split as well" in line for line in warnings(report))


def test_a_copy_in_another_class_means_a_wrong_label(photos: Path) -> None:
    first = photos / "train" / "000.Breed0" / "0.jpg"
    (photos / "train" / "001.Breed1" / "0 again.jpg").write_bytes(first.read_bytes())
    report = inspect(*read(photos), image_size=32)
    assert (report["leaks"], report["conflicts"]) == (0, 2)  # nobody knows which label is right
    assert any("one label must be wrong" in line for line in warnings(report))


def test_photos_far_below_the_models_input_are_named_with_their_size(photos: Path) -> None:
    path = photos / "test" / "001.Breed1" / "tiny.png"
    photo(1, (15, 40)).save(path)
    report = inspect(*read(photos), image_size=32)
    assert report["test"]["small"] == {str(path): [40, 15]}
    assert warnings(report) == [f"Small photo {path}: 40 x 15 pixels"]


def test_the_log_stays_short_and_the_report_whole(photos: Path) -> None:
    first = photos / "train" / "000.Breed0" / "0.jpg"
    for number in range(15):
        photo(500 + number, (10, 10)).save(first.with_name(f"small{number}.png"))
    report = inspect(*read(photos), image_size=32)
    assert len(report["train"]["small"]) == 15
    assert warnings(report)[-1] == "... and 5 more small photos in train"
    assert len(warnings(report)) == 11
