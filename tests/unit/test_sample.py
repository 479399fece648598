from pathlib import Path

import pytest

from dogbreeds.data.folders import find_photos
from dogbreeds.data.sample import draw_sample


def test_the_sample_is_a_photos_directory_and_the_same_each_time(tmp_path: Path) -> None:
    draw_sample(tmp_path / "a")
    draw_sample(tmp_path / "b")
    classes, splits = find_photos({name: tmp_path / "a" / name for name in ("train", "test")})
    assert len(classes) == 6
    assert len(splits["train"].paths) == 240
    for path in splits["test"].paths:
        assert isinstance(path, Path)
        twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == twin.read_bytes()


def test_an_existing_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="exists already"):
        draw_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
