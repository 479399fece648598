"""`dogbreeds data fetch` of local archives: honest ones of every kind, broken and hostile ones."""

import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dogbreeds.data import archives
from helpers.fetching import assert_whole, photos_zip, run


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["tar", "gztar", "xztar"])
def test_local_archives_of_every_kind_are_unpacked_and_stay(kind: str) -> None:
    Path("dogs.zip").write_bytes(photos_zip())
    with zipfile.ZipFile("dogs.zip") as archive:
        archive.extractall("unpacked")
    archive_file = shutil.make_archive("dogs", kind, "unpacked", "dogImages")
    assert run(archive_file) == 0
    assert_whole()
    assert Path(archive_file).exists()
    assert run("unpacked", "--out", "copy") == 0  # a folder is copied
    assert_whole(folder="copy")
    shutil.rmtree("unpacked")
    assert_whole(folder="copy")


def test_a_flat_archive_of_class_folders_is_fine_too(capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile("flat.zip", "w") as archive:
        for breed in ("cats", "Žofka 狗", "dogs"):
            archive.writestr(f"{breed}/a.jpg", breed)
    assert run("flat.zip") == 0
    assert "3 classes, 3 photos" in capsys.readouterr().out
    assert Path("dogImages/Žofka 狗/a.jpg").read_text() == "Žofka 狗"


GOOD = ("train/a/0.jpg", b"good")


def make_zip(
    *members: tuple[str, bytes], only: tuple[str, bytes] = GOOD, kind: int = 0, flags: int = 0
) -> None:
    with zipfile.ZipFile("bad.zip", "w") as archive:
        for name, data in (only, *members):
            info = zipfile.ZipInfo(name)
            info.external_attr = kind << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
            info.flag_bits |= flags


def make_tar(*headers: tarfile.TarInfo) -> None:
    with tarfile.open("bad.zip", "w") as tar:
        for header in headers:
            tar.addfile(header)


def tar_header(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, link
    return header


def make_zip_of_unknown_compression() -> None:
    make_zip()
    data = bytearray(Path("bad.zip").read_bytes())
    for header, field in ((b"PK\3\4", 8), (b"PK\1\2", 10)):  # of the member, of the directory
        start = data.index(header) + field
        data[start : start + 2] = (99).to_bytes(2, "little")
    Path("bad.zip").write_bytes(data)


HOSTILE: dict[str, tuple[Callable[[], object], str]] = {
    "text": (lambda: Path("bad.zip").write_text("hello"), "expected a zip or tar archive, got"),
    "empty": (lambda: Path("bad.zip").touch(), "expected a zip or tar archive, got a file of 0"),
    "empty zip": (lambda: zipfile.ZipFile("bad.zip", "w").close(), "expected photos in train"),
    "no photos": (lambda: make_zip(only=("readme.txt", b"x")), "expected photos in train"),
    "parent": (lambda: make_zip(("../../out.jpg", b"x")), "names inside the archive's folder"),
    "windows parent": (lambda: make_zip(("train\\..\\..\\out.jpg", b"x")), "inside the archive"),
    "absolute": (lambda: make_zip(("/tmp/out.jpg", b"x")), "names inside the archive's folder"),
    "drive": (lambda: make_zip(("C:/out.jpg", b"x")), "names inside the archive's folder"),
    "long": (lambda: make_zip((f"train/a/{'x' * 300}.jpg", b"x")), "names of 1 to 255 bytes"),
    "twice": (lambda: make_zip(("train/a/./0.jpg", b"x")), "'train/a/0.jpg' twice"),
    "link": (lambda: make_zip(("train/a/l.jpg", b"/etc/passwd"), kind=0o120777), "got a link"),
    "password": (lambda: make_zip(("train/a/p.jpg", b"x"), flags=1), "without a password"),
    "compression": (make_zip_of_unknown_compression, "broken archive"),
    "bomb": (lambda: make_zip(("train/a/b.jpg", bytes(101 * 2**20))), "made to fill disks"),
    "tar link": (lambda: make_tar(tar_header("train/a/l.jpg", tarfile.SYMTYPE, "/etc/passwd")),
                 "got a link or device"),
    "tar hard link": (lambda: make_tar(tar_header("train/a/l.jpg", tarfile.LNKTYPE, "../x")),
                      "got a link or device"),
    "tar device": (lambda: make_tar(tar_header("train/a/d.jpg", tarfile.CHRTYPE)), "or device"),
    "tar parent": (lambda: make_tar(tar_header("../out.jpg", tarfile.REGTYPE)), "inside the arch"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    kind: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = HOSTILE[kind]
    make()
    assert run("bad.zip") == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in workplace.iterdir()] == ["bad.zip"]
    assert not (workplace.parent / "out.jpg").exists()


def test_a_photo_that_was_damaged_on_the_way_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    body = bytearray(photos_zip())
    body[5000] ^= 0xFF
    Path("bad.zip").write_bytes(body)
    assert run("bad.zip") == 1
    assert "broken archive: 'dogImages/" in capsys.readouterr().err
    assert not Path("dogImages").exists()


def test_no_more_comes_out_than_the_directory_says(capsys: pytest.CaptureFixture[str]) -> None:
    make_zip(("train/a/1.jpg", bytes(2**20)))
    body = Path("bad.zip").read_bytes()
    true, lie = (2**20).to_bytes(4, "little"), (10).to_bytes(4, "little")
    assert body.count(true) == 2
    Path("bad.zip").write_bytes(body.replace(true, lie))
    assert run("bad.zip") == 1
    assert "broken archive" in capsys.readouterr().err
    assert not Path("dogImages").exists()


def test_a_million_files_are_too_many(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(archives, "_MAX_FILES", 10)
    Path("dogs.zip").write_bytes(photos_zip())
    assert run("dogs.zip") == 1
    assert "in 11 files: it is made to fill disks" in capsys.readouterr().err
