"""Shards are read as folders are; they are webdataset's and have an index."""

import io
import json
import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dogbreeds.cli import main
from dogbreeds.data.folders import find_photos
from dogbreeds.data.listing import list_folder
from dogbreeds.data.photo import PhotosError, ShardPhoto, _open
from dogbreeds.data.pixels import decode_split
from dogbreeds.data.sample import draw_sample
from dogbreeds.model.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(32, 32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos") / "sample"
    draw_sample(root)
    return root


@pytest.fixture
def shards(photos: Path, tmp_path: Path) -> Path:
    assert main.main(["data", "shard", str(photos), str(tmp_path / "out"), "--megabytes", "1"]) == 0
    return tmp_path / "out"


def roots(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in ("train", "valid", "test")}


def test_training_reads_the_same_photos_from_shards_as_from_folders(
    photos: Path, shards: Path
) -> None:
    classes, folders = find_photos(roots(photos))
    same_classes, packed = find_photos(roots(shards))
    assert classes == same_classes
    for split in ("train", "test"):
        expected = {
            path.name: (target, path.read_bytes())
            for path, target in zip(folders[split].paths, folders[split].targets, strict=True)
        }
        got = {
            Path(str(path)).name: (target, path.read_bytes())
            for path, target in zip(packed[split].paths, packed[split].targets, strict=True)
        }
        assert got == expected
    decoded = decode_split(packed["test"], PREPROCESSING, workers=1)
    assert decoded.pixels
    for pixels, path in zip(decoded.pixels.array, decoded.paths, strict=True):
        assert np.array_equal(pixels, PREPROCESSING.read_pixels(path))


def test_shards_are_shuffled_samples_by_webdatasets_convention(photos: Path, shards: Path) -> None:
    classes = sorted(path.name for path in (photos / "train").iterdir())
    order = []
    for shard in sorted((shards / "train").glob("*.tar")):
        with tarfile.open(shard) as tar:
            members = tar.getmembers()
            for photo, label in zip(members[::2], members[1::2], strict=True):
                folder, _, name = photo.name.rpartition("/")
                key, _, extension = name.partition(".")
                assert (extension, label.name) == ("jpg", f"{folder}/{key}.cls")
                stream = tar.extractfile(label)
                assert stream
                assert classes[int(stream.read())] == folder
                order.append(folder)
    assert len(order) == 240
    assert sum(a != b for a, b in pairwise(order)) > 100  # not by class


def test_shards_of_others_need_no_index(shards: Path, tmp_path: Path) -> None:
    before = list_folder(shards / "test")
    (shards / "test" / "index.jsonl").unlink()
    assert list_folder(shards / "test") == before
    with tarfile.open(tmp_path / "plain.tar", "w") as tar:  # classes by .cls alone
        for name, data in (("a.jpg", b"1"), ("a.cls", b"cat\n"), ("b.jpg", b"2"), ("b.cls", b"7")):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    listing = list_folder(tmp_path)
    assert listing.labels == ("cat", "7")
    assert [photo.read_bytes() for photo in listing.photos] == [b"1", b"2"]


def test_names_that_would_break_a_key_are_mended_and_stay_apart(tmp_path: Path) -> None:
    source = tmp_path / "source" / "00.Dot"
    source.mkdir(parents=True)
    names = ["a.b.jpg", "a_b.jpg", "a.b.PNG", "Žofka.jpg"]
    for name in names:
        (source / name).write_text(name)
    (tmp_path / "source" / "empty").mkdir()
    assert main.main(["data", "shard", str(source.parent), str(tmp_path / "out")]) == 0
    listing = list_folder(tmp_path / "out")
    assert {photo.read_bytes().decode() for photo in listing.photos} == set(names)
    keys = {Path(str(photo)).name.partition(".")[0] for photo in listing.photos}
    assert keys == {"a_b", "a_b_2", "a_b_3", "Žofka"}


def test_a_shard_is_opened_once_for_all_its_photos(shards: Path) -> None:
    photos = list_folder(shards / "train").photos
    _open.cache_clear()
    before = len([*Path("/proc/self/fd").iterdir()])
    assert all(photo.read_bytes()[:2] == b"\xff\xd8" for photo in photos)
    assert _open.cache_info().misses == len([*(shards / "train").glob("*.tar")]) > 1
    assert len([*Path("/proc/self/fd").iterdir()]) <= before + 1


def test_a_broken_photo_in_a_shard_is_dropped_alone(shards: Path) -> None:
    _, splits = find_photos(roots(shards))
    victim = splits["test"].paths[3]
    assert isinstance(victim, ShardPhoto)
    with victim.shard.open("r+b") as shard:
        shard.seek(victim.offset)
        shard.write(b"xxxxxxxxxxxxxxxx")
    decoded = decode_split(splits["test"], PREPROCESSING, workers=1, cache="none")
    assert [path for path, _ in decoded.broken] == [victim]


def test_an_index_of_other_shards_is_refused(shards: Path) -> None:
    train = shards / "train"
    last = max(train.glob("*.tar"))
    with last.open("ab") as shard:
        shard.write(b"more")
    with pytest.raises(PhotosError, match=rf"bytes in {last.name}, got"):
        list_folder(train)
    last.unlink()
    with pytest.raises(PhotosError, match="no index of the shards beside it"):
        list_folder(train)


def test_an_index_that_was_cut_or_is_none_is_refused(shards: Path) -> None:
    index = shards / "test" / "index.jsonl"
    lines = index.read_text().splitlines(keepends=True)
    for text in ("".join(lines[:-1]), "{}", "[1, 2]", "\x00", json.dumps(["../a", "b", "c", 0, 1])):
        index.write_text(text)
        with pytest.raises(PhotosError, match=r"index\.jsonl"):
            list_folder(shards / "test")


def test_a_shard_that_is_cut_or_no_tar_is_an_error(shards: Path) -> None:
    [photo, *_] = list_folder(shards / "test").photos
    assert isinstance(photo, ShardPhoto)
    (shards / "test" / "index.jsonl").unlink()
    photo.shard.write_bytes(photo.shard.read_bytes()[: photo.offset + 10])
    with pytest.raises(OSError, match="ends too early"):
        photo.read_bytes()
    photo.shard.write_text("no tar")
    with pytest.raises(PhotosError, match="no tar shard"):
        list_folder(shards / "test")


def test_photos_without_a_class_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(PhotosError, match=r"a\.jpg has no class"):
        list_folder(tmp_path)


def test_shards_are_checked_but_not_fixed(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = list_folder(shards / "test").photos[0]
    assert isinstance(photo, ShardPhoto)
    with photo.shard.open("r+b") as shard:
        shard.seek(photo.offset)
        shard.write(b"xxxx")
    assert main.main(["data", "check", str(shards), "--fix"]) == 1
    told = capsys.readouterr()
    assert "broken, 1 (" in told.out
    assert f"  test/{photo.shard.name}/{photo.member}: " in told.out
    assert "cannot be moved out of shards" in told.err


def test_no_photos_make_no_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["data", "shard", str(tmp_path), str(tmp_path / "out")]) == 1
    assert "expected photos" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
