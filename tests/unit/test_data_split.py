"""`dogbreeds data split`: stratified, the same each time, copies together, never half made."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dogbreeds.cli import main
from dogbreeds.data.folders import Split
from dogbreeds.data.listing import list_folder
from dogbreeds.data.photo import PhotosError
from dogbreeds.data.split import hold_out


def draw(file: Path, seed: int) -> None:
    """Write smooth shapes that no other seed gives."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((80, 64), Image.Resampling.BICUBIC).save(file)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 30 and 10 photos; eight of the first look the same."""
    root = tmp_path_factory.mktemp("flat") / "dogs"
    for number in range(40):
        breed = "001.Many" if number < 30 else "002.Few"
        draw(root / breed / f"{number:02d}.jpg", max(number, 7))
    return root


def run(*arguments: object) -> int:
    return main.main(["data", "split", *map(str, arguments)])


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.jpg")}


def test_every_class_is_split_alike_and_nothing_is_lost(flat: Path, tmp_path: Path) -> None:
    assert run(flat, tmp_path / "out", "--valid", 0.2, "--test", 0.1) == 0
    made = contents(tmp_path / "out")
    counts = Counter(tuple(name.split("/")[:2]) for name in made)
    assert counts == {
        ("train", "001.Many"): 21, ("valid", "001.Many"): 6, ("test", "001.Many"): 3,
        ("train", "002.Few"): 7, ("valid", "002.Few"): 2, ("test", "002.Few"): 1,
    }  # fmt: skip
    assert {name.partition("/")[2]: data for name, data in made.items()} == contents(flat)


@pytest.mark.parametrize("seed", range(4))
def test_photos_that_look_the_same_stay_together(flat: Path, tmp_path: Path, seed: int) -> None:
    assert run(flat, tmp_path / "out", "--valid", 0.3, "--test", 0.3, "--seed", seed) == 0
    places = {name.split("/")[0] for name in contents(tmp_path / "out") if name[-6:-4] < "08"}
    assert len(places) == 1


def test_the_same_seed_gives_the_same_split_and_another_another(flat: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(flat, tmp_path / name, "--seed", seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_links_take_no_space(flat: Path, tmp_path: Path) -> None:
    assert run(flat, tmp_path / "out", "--link") == 0
    for path in (tmp_path / "out").rglob("*.jpg"):
        assert path.samefile(flat / path.parent.name / path.name)


def test_what_cannot_be_decoded_is_left_out_and_named(
    flat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (flat / "001.Many" / "broken.jpg").write_text("no photo")
    try:
        assert run(flat, tmp_path / "out") == 0
    finally:
        (flat / "001.Many" / "broken.jpg").unlink()
    assert "Left out" in capsys.readouterr().out
    assert len(contents(tmp_path / "out")) == 40


def test_wrong_input_is_refused_with_the_reason_and_nothing_is_made(
    flat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"

    def refused(expected: str, *flags: object) -> None:
        assert run(source, out, *flags) == 1
        assert expected in capsys.readouterr().err
        assert not out.exists()
        assert not list(tmp_path.glob(".*"))

    refused("expected a folder of photos")
    source.mkdir()
    refused("expected class folders such as")
    draw(source / "one" / "a.jpg", 1)
    refused("expected at least 2 class folders")
    draw(source / "two" / "a.jpg", 2)
    refused("class one has too few different photos")
    refused("photos to train on", "--valid", 0.5, "--test", 0.5)
    for name in ("train", "test"):
        (source / name).mkdir()
    refused("it is split already")


def test_a_folder_that_exists_is_not_touched(
    flat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").touch()
    assert run(flat, tmp_path) == 1
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def training_split(folder: Path) -> Split:
    found = list_folder(folder)
    targets = tuple(found.classes.index(label) for label in found.labels)
    return Split("train", found.photos, targets, (), (), found.classes)


@pytest.mark.parametrize("seed", range(4))
def test_a_tenth_of_each_class_stands_in_for_valid_and_no_copy_of_it_is_trained_on(
    flat: Path, seed: int
) -> None:
    (flat / "003.Single").mkdir()
    try:
        draw(flat / "003.Single" / "1.jpg", 100)
        train = training_split(flat)
        rest, valid = hold_out(train, seed, workers=1)
        assert hold_out(train, seed, workers=1) == (rest, valid)
    finally:
        shutil.rmtree(flat / "003.Single")
    assert [valid.targets.count(target) for target in range(3)] == [3, 1, 0]
    assert [rest.targets.count(target) for target in range(3)] == [27, 9, 1]
    assert {*rest.paths, *valid.paths} == {*train.paths}
    assert (rest.name, valid.name) == ("train", "valid")
    for part in (rest, valid):
        assert [train.targets[train.paths.index(path)] for path in part.paths] == [*part.targets]
    same = {f"{number:02d}.jpg" for number in range(8)}
    assert not same & {Path(str(path)).name for path in valid.paths}


def test_without_two_different_photos_of_a_class_nothing_can_stand_in_for_valid(
    tmp_path: Path,
) -> None:
    for name in ("a/1.png", "a/copy.png"):
        draw(tmp_path / name, 1)
    draw(tmp_path / "b" / "2.png", 2)
    with pytest.raises(PhotosError, match="expected a split valid, or two different photos"):
        hold_out(training_split(tmp_path), seed=0, workers=1)
