from collections.abc import Callable
from pathlib import Path

import pytest

from dogbreeds.data.folders import find_photos
from dogbreeds.data.photo import PhotosError
from dogbreeds.model.classes import PhotoClass


def make(root: Path, **splits: dict[str, list[str]]) -> dict[str, Path]:
    """Make empty files: ``make(root, train={"001.A": ["a.jpg"]})``."""
    for split, classes in splits.items():
        for name, files in classes.items():
            (root / split / name).mkdir(parents=True)
            for file in files:
                (root / split / name / file).touch()
    return {split: root / split for split in splits}


def test_photos_are_listed_in_order_with_their_classes(tmp_path: Path) -> None:
    roots = make(
        tmp_path,
        train={"002.B": ["b.jpg"], "001.A": ["2.PNG", "1.jpeg"]},
        test={"002.B": ["c.webp"]},
    )
    classes, splits = find_photos(roots)
    assert classes == (PhotoClass("001", "A"), PhotoClass("002", "B"))
    assert [path.name for path in splits["train"].paths] == ["1.jpeg", "2.PNG", "b.jpg"]
    assert splits["train"].targets == (0, 0, 1)
    assert splits["test"].targets == (1,)


def test_other_files_are_left_out_and_told(tmp_path: Path) -> None:
    roots = make(
        tmp_path,
        train={"001.A": ["a.jpg", "Thumbs.db", ".DS_Store"], "002.B": ["b.jpg"], ".git": ["c.jpg"]},
        valid={"001.A": ["d.jpg"]},
    )
    _, splits = find_photos(roots)
    assert [path.name for path in splits["train"].paths] == ["a.jpg", "b.jpg"]
    assert [path.name for path in splits["train"].ignored] == ["Thumbs.db"]


def _no_train(root: Path) -> dict[str, Path]:
    return make(root, test={"001.A": ["a.jpg"]})


def _only_train(root: Path) -> dict[str, Path]:
    return make(root, train={"001.A": ["a.jpg"], "002.B": ["b.jpg"]})


def _missing_folder(root: Path) -> dict[str, Path]:
    return {"train": root / "train", "test": root / "test"}


def _empty_folder(root: Path) -> dict[str, Path]:
    (root / "train").mkdir()
    return {"train": root / "train", "test": root / "train"}


def _no_class_folders(root: Path) -> dict[str, Path]:
    (root / "train").mkdir()
    (root / "train" / "a.jpg").touch()
    return {"train": root / "train", "test": root / "train"}


def _class_without_photos(root: Path) -> dict[str, Path]:
    return make(root, train={"001.A": ["a.jpg"], "002.B": ["x.txt"]}, test={"001.A": ["b.jpg"]})


def _unknown_class(root: Path) -> dict[str, Path]:
    classes = {"001.A": ["a.jpg"], "002.B": ["b.jpg"]}
    return make(root, train=classes, test={"003.C": ["c.jpg"]})


def _one_class(root: Path) -> dict[str, Path]:
    return make(root, train={"001.A": ["a.jpg"]}, test={"001.A": ["b.jpg"]})


def _same_id_twice(root: Path) -> dict[str, Path]:
    classes = {"001.A": ["a.jpg"], "001.B": ["b.jpg"]}
    return make(root, train=classes, test=classes)


def _empty_test(root: Path) -> dict[str, Path]:
    return make(root, train={"001.A": ["a.jpg"], "002.B": ["b.jpg"]}, test={"001.A": []})


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (_no_train, "expected a split train, got test"),
        (_only_train, "valid or test"),
        (_missing_folder, "expected a folder for split train"),
        (_empty_folder, "expected class folders"),
        (_no_class_folders, "expected class folders"),
        (_class_without_photos, r"002\.B has no photos in train"),
        (_unknown_class, r"split test has the class folder 003\.C"),
        (_one_class, "at least 2 class folders"),
        (_same_id_twice, "one folder per class id .* several for 001: 001.A, 001.B"),
        (_empty_test, "expected photos in split test"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_with_the_reason(
    tmp_path: Path, layout: Callable[[Path], dict[str, Path]], message: str
) -> None:
    with pytest.raises(PhotosError, match=message):
        find_photos(layout(tmp_path))
