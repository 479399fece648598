import base64
import re
from pathlib import Path

import pytest

from dogbreeds.model.photo_formats import describe, is_photo_file, is_photo_name, photo_format


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg",
        "A.JPG",
        "a.jpe",
        "a.jfif",
        "a.jif",
        "a.pjpeg",
        "a.mpo",
        "a.png",
        "a.webp",
        "a.bmp",
        "a.gif",
        "a.tif",
        "a.avif",
        "a.heic",
        "a.HEIF",
        "a.jpg_large",
        "photo.jpg.1",
        "a.jpg?w=640&h=1.5",
        "a.jpg~",
        "a.b.jpeg",
        "photo.jpg (1)",
        "photo.jpg - Copy",
    ],
)
def test_names_that_photos_have_in_the_wild_are_photos(name: str) -> None:
    assert is_photo_name(name)


@pytest.mark.parametrize(
    "name",
    ["a", "jpg", ".jpg", "._a.jpg", "a.txt", "a.jpg.txt", "a.jpg.xmp", "a.jpg_notes.txt", "a.jpgx"],
)
def test_other_names_are_not(name: str) -> None:
    assert not is_photo_name(name)


def test_the_first_bytes_decide_where_the_name_is_silent(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(b"\xff\xd8\xff\xe0 and so on")
    (tmp_path / "notes").write_text("no photo")
    (tmp_path / "broken.jpg").write_text("the decoder will say what this is")
    found = {path.name for path in tmp_path.iterdir() if is_photo_file(path)}
    assert found == {"photo", "broken.jpg"}


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x18ftypavif", "AVIF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"\0\0\0\x18ftypisom", None),
        (b"", None),
    ],
)
def test_formats_are_told_by_their_first_bytes(data: bytes, format: str | None) -> None:
    assert photo_format(data) == format


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "an empty file"),
        (bytes(4096), "4096 zero bytes"),
        (b"\xff\x0a\x00\x10", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        (b"%PDF-1.4", "PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\1\0\1\0", "ICO"),
        (b"\0\0\0\x20ftypisom", "a video"),
        (b"\0\0\0\x14ftypqt  ", "a video"),
        (b"\x1aE\xdf\xa3\x9f", "a video"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"\0\0\0\x18ftypcrx ", "raw file"),
        (b"PK\3\4", "zip"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git-LFS pointer"),
        (b"/annex/objects/SHA256E-s1--0.jpg", "git-annex pointer"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<svg/>", "SVG"),
        (b"\n<!DOCTYPE html><title>404</title>", "HTML page"),
        (b"\xef\xbb\xbf<html>", "HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "XML.*<Error><Code>AccessD"),
        (base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(range(90))), "base64 text .of a JPEG"),
        (base64.urlsafe_b64encode(b"\xff\xd8\xff\xfe" * 30), "base64 text .of a JPEG"),
        (b"data:image/png;base64,iVBO", "base64 text"),
        (b"\r\n\xff\xd8\xff\xe0", "2 other bytes before a JPEG"),
        ("Größe 'é'".encode(), "text that begins with"),
        (b"\x01\x02\x03\x04\x05\xfe\xfd", "something else .*01 02 03"),
    ],
)
def test_what_is_no_photo_is_named_in_printable_ascii(data: bytes, name: str) -> None:
    described = describe(data)
    assert re.search(name, described), described
    assert described.isascii()
    assert described.isprintable()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\xef\xbb\xbfversion https://git-lfs.github.com/spec/v1\r\noid", "git-LFS pointer"),
        (b"\n%PDF-1.4 and so on", "PDF"),
        (b"<!-- made by hand --><!doctype html>", "HTML page"),
        (b"<script>window.location='x'</script>", "HTML page"),
        ("<!DOCTYPE html><html>".encode("utf-16"), "HTML page"),
        (b"<!-- x -->" + b" " * 3000 + b"<svg>", "SVG"),
        (b'"' + base64.b64encode(b"\xff\xd8\xff\xe0" * 40) + b'"', "base64 text .of a JPEG"),
        (base64.b64encode(b"\xff\xd8\xff\xe0" * 7), "base64 text .of a JPEG"),
        (b"\0\0\1\0moov\0\0\0lmvhd" + bytes(90), "a video"),
        (b"\0\0\0\x08wide\0\0\1\0mdat" + bytes(90), "a video"),
        ((b"G\x40\x11\x10" + bytes(184)) * 5, "a video"),
        (bytes(128) + b"DICM" + b"\2", "DICOM"),
        (b"P6\n640 480\n255\n", "Netpbm"),
        (b"II*\0\x10\0\0\0CR\2\0", "raw file .CR2"),
        (b"BMW and other cars are text; so is all of this line.", "text"),
        (b"\xff" * 99, "something else"),
        (b"\x93NUMPY\1\0v\0", "NumPy"),
    ],
)
def test_disguises_of_what_is_no_photo_are_seen_through(data: bytes, name: str) -> None:
    assert photo_format(data[:64]) is None
    assert re.search(name, describe(data)), describe(data)
