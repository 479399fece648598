"""What training and `data check` take of a folder, leave out and refuse: one rule."""

import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dogbreeds.cli import main
from dogbreeds.data.check import check
from dogbreeds.data.check_report import text
from dogbreeds.data.folders import find_channels, find_photos, find_roots
from dogbreeds.data.listing import list_folder
from dogbreeds.data.photo import PhotosError
from dogbreeds.data.split import ensure_split

Layout = Callable[[Path], object]


def draw(file: Path, seed: int = 0) -> None:
    """Write shapes with some grain that no other seed gives."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((96, 80), Image.Resampling.BICUBIC))
    file.parent.mkdir(parents=True, exist_ok=True)
    grain = rng.normal(0, 8, (80, 96, 1))
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(file, format="JPEG")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos each of two classes in two splits."""
    root = tmp_path / "dogs"
    for seed in range(8):
        split, breed = ("train", "valid")[seed // 4], f"00{seed // 2 % 2}.Breed"
        draw(root / split / breed / f"{seed}.jpg", seed)
    return root


def checked(photos: Path) -> tuple[dict[str, list[str]], list[str], str]:
    """Return what is found by kind, the problems, and the last line of the text."""
    found = check(photos, 1)
    findings = {
        kind: [entry["photo"] for entry in entries]
        for kind, entries in found.report["findings"].items()
    }
    return findings, found.report["problems"], text(found).splitlines()[-1]


def names(photos: Path, split: str = "train") -> list[str]:
    return [Path(str(path)).name for path in find_photos(find_roots(photos))[1][split].paths]


def test_nested_folders_are_read_as_the_class_of_the_first(photos: Path) -> None:
    draw(photos / "train" / "000.Breed" / "2024" / "may" / "deep.jpg", 50)
    _, splits = find_photos(find_roots(photos))
    position = [path.name for path in splits["train"].paths].index("deep.jpg")
    assert splits["train"].targets[position] == 0
    findings, problems, last = checked(photos)
    assert (findings, problems, last) == ({}, [], "Nothing to mend.")


def test_what_is_left_out_is_named_by_both_and_is_not_nothing_to_mend(photos: Path) -> None:
    draw(photos / "train" / "stray.jpg", 51)
    draw(photos / "beside.jpg", 52)
    draw(photos / "unsorted" / "a" / "b.jpg", 53)
    (photos / "train" / "000.Breed" / "annexed.jpg").symlink_to(".git/annex/objects/nothing")
    _, splits = find_photos(find_roots(photos))
    assert {path.name for path, _ in splits["train"].left_out} == {"stray.jpg", "annexed.jpg"}
    assert (
        "git annex get"
        in dict(splits["train"].left_out)[photos / "train" / "000.Breed" / "annexed.jpg"]
    )
    findings, _, last = checked(photos)
    assert findings == {
        "left out": ["beside.jpg", "unsorted", "train/000.Breed/annexed.jpg", "train/stray.jpg"]
    }
    assert last.startswith("Left out: 4")


def test_other_files_are_told_and_are_not_nothing_to_mend(photos: Path) -> None:
    (photos / "train" / "000.Breed" / "notes.txt").write_text("mine")
    findings, _, last = checked(photos)
    assert findings == {"ignored": ["train/000.Breed/notes.txt"]}
    assert "Nothing to mend" not in last
    assert "1 ignored" in last


@pytest.mark.parametrize(
    "junk",
    ["__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "__pycache__", ".ipynb_checkpoints"],
)
def test_what_systems_leave_behind_is_no_class_and_no_photo(photos: Path, junk: str) -> None:
    draw(photos / "train" / junk / "a.jpg")
    draw(photos / junk / "a.jpg")
    draw(photos / "train" / "000.Breed" / junk / "a.jpg")
    (photos / "train" / "000.Breed" / "._0.jpg").write_bytes(b"\0\5\x16\7")
    assert names(photos) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert checked(photos) == ({}, [], "Nothing to mend.")


def test_content_decides_what_a_photo_is(photos: Path) -> None:
    for name in ("no_suffix", "a.jfif", "a.jpg_large", "photo.jpg.1", "photo.jpg (1)"):
        shutil.copy(photos / "train" / "000.Breed" / "0.jpg", photos / "train/000.Breed" / name)
    assert len(names(photos)) == 9


def test_a_link_to_a_folder_above_is_not_followed_forever(photos: Path) -> None:
    (photos / "train" / "000.Breed" / "loop").symlink_to(photos / "train")
    assert len(names(photos)) == 4


@pytest.mark.parametrize(
    ("train", "valid"),
    [("training", "validation"), ("train", "val"), ("Train", "EVAL"), ("TRAINING", "Val")],
)
def test_splits_have_the_names_that_people_give_them(photos: Path, train: str, valid: str) -> None:
    (photos / "train").rename(photos / train)
    (photos / "valid").rename(photos / valid)
    assert find_roots(photos) == {"train": photos / train, "valid": photos / valid}
    channels = {train.lower(): photos / train, valid.lower(): photos / valid}
    assert find_channels(channels) == find_roots(photos)


def test_a_single_channel_may_hold_all_splits(photos: Path) -> None:
    assert find_channels({"training": photos}) == find_roots(photos)


def test_an_unpacked_archives_own_folder_is_looked_through(photos: Path) -> None:
    (photos.parent / "outer" / "inner").mkdir(parents=True)
    photos.rename(photos.parent / "outer" / "inner" / "dogImages")
    assert set(find_roots(photos.parent / "outer")) == {"train", "valid"}


def test_train_may_be_a_class(tmp_path: Path) -> None:
    for seed, name in enumerate(("car", "bus", "train")):
        draw(tmp_path / name / "a.jpg", seed)
    assert find_roots(tmp_path) == {"": tmp_path}


def test_nfc_and_nfd_name_one_class_in_two_splits(photos: Path) -> None:
    composed = unicodedata.normalize("NFC", "Café")
    decomposed = unicodedata.normalize("NFD", "Café")
    (photos / "train" / "001.Breed").rename(photos / "train" / composed)
    (photos / "valid" / "001.Breed").rename(photos / "valid" / decomposed)
    classes, splits = find_photos(find_roots(photos))
    assert [item.name for item in classes] == ["Breed", composed]
    assert splits["valid"].targets == (0, 0, 1, 1)
    assert checked(photos)[1] == []


def _only_train(photos: Path) -> None:
    shutil.rmtree(photos / "valid")


def _two_validations(photos: Path) -> None:
    shutil.copytree(photos / "valid", photos / "val")


def _empty_split(photos: Path) -> None:
    shutil.rmtree(photos / "valid")
    (photos / "valid").mkdir()


def _two_of_one_label(photos: Path) -> None:
    for split in ("train", "valid"):
        (photos / split / "001.Breed").rename(photos / split / "000.Other")


def _two_spellings(photos: Path) -> None:
    draw(photos / "train" / unicodedata.normalize("NFC", "Café") / "a.jpg", 60)
    draw(photos / "train" / unicodedata.normalize("NFD", "Café") / "a.jpg", 61)


def _one_class(photos: Path) -> None:
    for split in ("train", "valid"):
        shutil.rmtree(photos / split / "001.Breed")


def _empty_class(photos: Path) -> None:
    (photos / "train" / "002.Empty").mkdir()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_only_train, "expected a split valid or test to measure accuracy on, got only train"),
        (_two_validations, "expected one folder or channel for split valid, got val and valid"),
        (_empty_split, "expected class folders .* in split valid, found none"),
        (_two_of_one_label, "expected one folder per class id in train, got several for 000"),
        (_two_spellings, "got 2 that spell Café in different Unicode forms"),
        (_one_class, "expected at least 2 class folders in train"),
        (_empty_class, r"class folder 002\.Empty has no photos in train"),
    ],
)
def test_training_and_check_refuse_the_same_in_the_same_words(
    photos: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(photos)
    with pytest.raises(PhotosError, match=words) as refused:
        find_photos(find_roots(photos))
    try:
        _, problems, last = checked(photos)
    except PhotosError as error:
        problems = [str(error)]
    else:
        assert last.startswith("Training would refuse this")
    assert problems[0] == str(refused.value).partition(" (")[0] or problems[0] in str(refused.value)


LABELS = "path,label\npics/0.jpg,001.A\npics/sub/1.jpg,002.B\n"


def labelled(root: Path, content: str) -> Path:
    draw(root / "pics" / "0.jpg", 0)
    draw(root / "pics" / "sub" / "1.jpg", 1)
    (root / "labels.csv").write_bytes(content.encode())
    return root


@pytest.mark.parametrize(
    "content",
    [
        LABELS,
        "\ufeff" + LABELS.replace("\n", "\r\n"),
        LABELS.replace(",", ";"),
        LABELS.replace(",", "\t").replace("path", '"Path"'),
        LABELS.replace("path,", "file_name,").replace("/", "\\"),
        "id,path,label\n" + "".join(f"7,{line}\n" for line in LABELS.splitlines()[1:]),
    ],
)
def test_labels_come_from_a_csv_file_as_a_channel_and_locally(tmp_path: Path, content: str) -> None:
    roots = {split: labelled(tmp_path / split, content) for split in ("train", "valid")}
    classes, splits = find_photos(roots)
    assert [item.name for item in classes] == ["A", "B"]
    assert [Path(str(path)).name for path in splits["train"].paths] == ["0.jpg", "1.jpg"]
    assert splits["train"].targets == (0, 1)
    assert find_roots(tmp_path) == roots


def test_what_a_labels_file_and_the_folder_disagree_on_is_left_out_and_named(
    tmp_path: Path,
) -> None:
    labelled(tmp_path, LABELS + "pics/gone.jpg,001.A\n")
    draw(tmp_path / "pics" / "more.jpg", 3)
    findings, problems, _ = checked(tmp_path)
    assert findings == {"left out": ["pics/gone.jpg", "pics/more.jpg"]}
    reasons = {path.name: reason for path, reason in list_folder(tmp_path).left_out}
    assert reasons == {
        "gone.jpg": "labels.csv names it, but there is no such file",
        "more.jpg": "labels.csv does not name it",
    }
    assert problems == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("../x.jpg,001.A", "line 4: expected a path below"),
        ("/etc/x.jpg,001.A", "line 4: expected a path below"),
        ("pics/0.jpg", "line 4: expected a path and a label"),
        ("pics/0.jpg,", "line 4: expected a label, got ''"),
        ("pics/0.jpg,a/b", "line 4: expected a label, got 'a/b'"),
        ("pics/0.jpg,002.B", "line 4: pics/0.jpg has another label above"),
    ],
)
def test_a_wrong_labels_file_is_refused_with_its_line(
    tmp_path: Path, line: str, words: str
) -> None:
    with pytest.raises(PhotosError, match=words):
        find_photos({"train": labelled(tmp_path, f"{LABELS}{line}\n"), "valid": tmp_path})


def test_a_flat_folder_is_split_by_itself_and_the_log_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = tmp_path / "flat"
    for seed in range(24):
        draw(flat / ("cats", "dogs")[seed % 2] / str(seed % 3) / f"{seed // 6}.jpg", seed)
    made = ensure_split(flat, tmp_path / "made")
    _, splits = find_photos(find_roots(made))
    assert {name: len(split.paths) for name, split in splits.items()} == {
        "train": 20, "valid": 2, "test": 2,
    }  # fmt: skip
    assert "is not split: made" in capsys.readouterr().out
    assert all(Path(str(path)).stat().st_nlink == 2 for path in splits["train"].paths)
    assert ensure_split(made, tmp_path / "unused") == made


def test_a_labelled_folder_is_split_by_itself(tmp_path: Path) -> None:
    lines = []
    for seed in range(12):
        draw(tmp_path / "in" / "pics" / f"{seed}.jpg", seed)
        lines.append(f"pics/{seed}.jpg,{('cats', 'dogs')[seed % 2]}\n")
    (tmp_path / "in" / "labels.csv").write_text("path,label\n" + "".join(lines))
    classes, _ = find_photos(find_roots(ensure_split(tmp_path / "in", tmp_path / "made")))
    assert [item.name for item in classes] == ["cats", "dogs"]


def test_what_is_refused_for_lack_of_a_split_is_split_by_the_command_that_it_names(
    tmp_path: Path,
) -> None:
    for number in range(12):
        draw(tmp_path / "dogs" / "train" / f"00{number % 2}.Breed" / f"{number}.jpg", number)
    with pytest.raises(PhotosError) as refused:
        find_photos(find_roots(tmp_path / "dogs"))
    arguments = str(refused.value).partition("dogbreeds ")[2].split()
    assert arguments == ["data", "split", str(tmp_path / "dogs" / "train"), "OUT"]
    assert main.main([*arguments[:-1], str(tmp_path / "out")]) == 0
    _, splits = find_photos(find_roots(tmp_path / "out"))
    assert set(splits) == {"train", "valid", "test"}


def test_a_labels_file_beside_folders_without_classes_labels_their_photos(tmp_path: Path) -> None:
    lines = ["path,label"]
    for number in range(4):
        name = f"{('train', 'valid')[number // 2]}/{number}.jpg"
        draw(tmp_path / name, number)
        lines.append(f"{name},{'ab'[number % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    assert find_roots(tmp_path) == {"": tmp_path}
    assert list_folder(tmp_path).labels == ("a", "b", "a", "b")
