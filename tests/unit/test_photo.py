import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dogbreeds.model import photo as photo_module
from dogbreeds.model.photo import (
    PhotoError,
    PhotoTooLargeError,
    decode,
    decode_unconverted,
    upright_rgb,
)
from dogbreeds.model.preprocessing import Preprocessing
from helpers.pictures import difference, encode, jpeg_with, photo, png_with, profile


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_documented_formats_decode_to_the_same_picture(format: str) -> None:
    decoded = decode(encode(photo(), format))
    assert (decoded.mode, decoded.size) == ("RGB", (400, 300))
    difference = np.abs(np.asarray(decoded, float) - np.asarray(photo(), float))
    assert difference.mean() < (12 if format == "GIF" else 3)  # GIF has 256 colours


def test_a_path_is_read_like_its_bytes(tmp_path: Path) -> None:
    data = encode(photo(), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    assert decode(tmp_path / "a.jpg").tobytes() == decode(data).tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation: int) -> None:
    upright = photo()
    # What a camera stores for each orientation is the inverse of what a viewer must do.
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    operation = inverse.get(orientation)
    stored = upright if operation is None else upright.transpose(Image.Transpose(operation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encode(stored, "JPEG", exif=exif, quality=95))
    assert decoded.size == upright.size
    difference = np.abs(np.asarray(decoded, float) - np.asarray(upright, float))
    assert difference.mean() < 3


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data).getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"this is no photo", "text that begins"),
        (encode(photo(), "JPEG")[:20], "truncated|incomplete|broken"),
        (encode(photo(), "JPEG")[:2000], "truncated"),
        (encode(photo(), "PNG")[:500], "truncated|broken"),
        (b"%PDF-1.4 not a photo", "a PDF document"),
    ],
)
def test_what_is_no_whole_photo_is_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(PhotoError, match=message):
        decode(data)


# Metadata

ORIENTATION_6 = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)


@pytest.mark.parametrize(
    "exif",
    [
        ORIENTATION_6,
        ORIENTATION_6[:22],  # cut behind the entry
        struct.pack(">2sHIHHHIBBHI", b"MM", 42, 8, 1, 0x0112, 1, 1, 6, 0, 0, 0),  # a byte
        struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 4, 1, 6, 0, 0),  # a long
        struct.pack(
            "<2sHIHHHIIHHIHHI", b"II", 42, 8, 2, 0x011A, 10, 1, 2**31, 0x0112, 3, 1, 6, 0, 0
        ),
        struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 999, 0x0112, 3, 1, 6, 0, 8),  # entries missing
    ],
)
def test_the_orientation_is_read_whatever_else_is_wrong_with_exif(exif: bytes) -> None:
    turned = photo().transpose(Image.Transpose.ROTATE_270)
    assert difference(jpeg_with((0xE1, b"Exif\0\0" + exif)), turned) < 3
    assert difference(png_with((b"eXIf", exif)), turned) == 0
    assert difference(encode(photo(), "WEBP", exif=exif, quality=95), turned) < 3


@pytest.mark.parametrize(
    "exif",
    [b"", b"II", b"garbage", b"II*\0\xff\xff\xff\xff", ORIENTATION_6.replace(b"\6", b"\x63")],
)
def test_damaged_exif_is_ignored(exif: bytes) -> None:
    assert difference(jpeg_with((0xE1, b"Exif\0\0" + exif)), photo()) < 3
    assert difference(png_with((b"eXIf", exif)), photo()) == 0
    assert difference(png_with((b"eXIf", exif), crc=1), photo()) == 0


@pytest.mark.parametrize(
    ("marker", "body"),
    [
        (0xE0, b"JFIF\0"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff\xfe"),
        (0xE2, b"ICC_PROFILE\0"),
        (0xE2, b"ICC_PROFILE\0\1\2half a profile"),
        (0xE2, b"MPF\0garbage"),
        (0xED, b"Photoshop 3.0\x008BIM"),
        (0xEE, b"Adobe"),
        (0xFE, bytes(60000)),
    ],
)
def test_damaged_segments_of_a_jpeg_are_ignored(marker: int, body: bytes) -> None:
    assert difference(jpeg_with((marker, body)), photo()) < 3


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"gAMA", b"\0"),
        (b"pHYs", b""),
        (b"tEXt", b"no end"),
        (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(3 * 2**20))),
        (b"zTXt", b"a\0\0" + zlib.compress(bytes(3 * 2**20))),
        (b"iCCP", b"a\0\0" + zlib.compress(bytes(5 * 2**20))),
        (b"iCCP", b""),
        (b"acTL", b"\0\0"),
        (b"tRNS", b"\0"),
        (b"prVt", b"whatever"),
    ],
)
@pytest.mark.parametrize("crc", [0, 1])
def test_damaged_ancillary_chunks_of_a_png_are_ignored(kind: bytes, body: bytes, crc: int) -> None:
    assert difference(png_with((kind, body), crc=crc), photo()) == 0


# What is missing


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_only_its_end_marker_is_used(progressive: bool) -> None:
    data = encode(photo(), "JPEG", progressive=progressive)
    assert data.endswith(b"\xff\xd9")
    whole = decode(data).tobytes()
    for tail in (b"", b"\xff", bytes(5000), b"<html>", b"\r\n"):
        assert decode(data[:-2] + tail).tobytes() == whole
        assert decode(data + tail).tobytes() == whole


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.98])
def test_a_jpeg_that_ends_too_early_is_refused_also_if_it_was_padded(
    progressive: bool, share: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 100, 3)).astype(np.uint8)
    data = encode(Image.fromarray(noise), "JPEG", progressive=progressive)
    cut = data[: int(len(data) * share)]
    for end in (b"", bytes(len(data) - len(cut)), bytes(5000)):
        with pytest.raises(PhotoError, match="a truncated JPEG"):
            decode(cut + end)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
def test_a_photo_whose_end_was_filled_up_is_refused(format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), format, quality=95)
    half = data[: len(data) // 2]
    padded = [half + bytes(len(data) - len(half))]
    if format == "JPEG":
        zeros = bytes(len(data) - len(half) - 2)
        padded += [half + b"\xff\xd9", half + zeros + b"\xff\xd9", half + b"\x1a" * len(zeros)]
    for cut in padded:
        with pytest.raises(PhotoError, match=f"(?i)truncated {format}"):
            decode(cut)
    assert decode(data + bytes(2000)).size == (160, 120)  # what follows a photo does not matter


def test_a_gray_edge_is_no_missing_part() -> None:
    image = photo(64, 64)
    image.paste((128, 128, 128), (0, 32, 64, 64))
    assert decode(encode(image, "JPEG", quality=95)).size == (64, 64)


def test_a_truncated_photo_can_be_tolerated() -> None:
    data = encode(photo(), "JPEG")
    half = decode(data[: len(data) // 2], tolerate_truncated=True)
    assert half.size == (400, 300)
    with pytest.raises(PhotoError):  # the tolerance does not outlast the call
        decode(data[: len(data) // 2])


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_module, "MAX_MEGAPIXELS", 0.1)
    with pytest.raises(PhotoTooLargeError, match="400 x 300"):
        decode(encode(photo(), "JPEG"))


def test_large_photos_are_shrunk_while_decoding_but_not_below_the_need() -> None:
    data = encode(photo(2000, 1600), "JPEG")
    assert decode(data).size == (2000, 1600)
    shrunk = decode(data, 256)
    assert 256 <= min(shrunk.size) < 600
    full = Preprocessing().to_pixels(decode(data)).astype(float)
    fast = Preprocessing().read_pixels(data).astype(float)
    assert np.abs(full - fast).mean() < 2


def test_heic_is_read_as_any_other_format() -> None:
    data = (Path(__file__).parent / "gradient.heic").read_bytes()
    assert difference(data, photo(64, 48)) < 4
    _, header = decode_unconverted(data)
    assert (header.format, header.mode, header.width, header.height) == ("HEIC", "RGB", 64, 48)
    with pytest.raises(PhotoError, match="HEIC"):
        decode(data[:-100])
    with pytest.raises(PhotoError, match="HEIC"):
        decode(data[:40] + bytes(100))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_that_pillow_opened_becomes_what_decode_returns(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo(), "JPEG", exif=exif, icc_profile=profile(1.4))
    opened = Image.open(io.BytesIO(data))
    assert upright_rgb(opened).tobytes() == decode(data).tobytes()
    assert "icc_profile" in opened.info  # the caller's image stays as it was
