"""What says how pixels are meant is read: profiles, CMYK, transparency, bit depths."""

import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from dogbreeds.model import color
from dogbreeds.model.photo import (
    PhotoError,
    decode,
)
from dogbreeds.model.preprocessing import Preprocessing
from helpers.pictures import chunk, difference, encode, photo, profile


def linear_to_srgb(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def test_cmyk_palette_and_grey_photos_keep_their_brightness() -> None:
    grey = photo().convert("L")
    wanted = np.asarray(grey.convert("RGB"), float).mean()
    for stored in (
        encode(grey.convert("RGB").convert("CMYK"), "JPEG"),
        encode(grey.convert("P"), "PNG"),
        encode(grey, "JPEG"),
        encode(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"),
    ):
        assert abs(np.asarray(decode(stored), float).mean() - wanted) < 3


def test_transparency_is_laid_on_white() -> None:
    transparent = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    half = Image.new("LA", (20, 20), (0, 128))
    assert decode(encode(transparent, "PNG")).getpixel((5, 5)) == (255, 255, 255)
    value = decode(encode(half, "PNG")).getpixel((5, 5))
    assert isinstance(value, tuple)
    assert all(abs(channel - 127) <= 2 for channel in value)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_colour_profiles_are_converted_to_srgb(format: str) -> None:
    options = {} if format in ("PNG", "TIFF") else {"quality": 95}
    stored = np.asarray(photo(), float) / 255
    wanted = Image.fromarray((linear_to_srgb(stored**1.4) * 255).round().astype(np.uint8))
    data = encode(photo(), format, icc_profile=profile(1.4), **options)
    assert difference(data, wanted) < 3
    assert np.abs(np.asarray(photo(), float) - np.asarray(wanted, float)).mean() > 20
    # The model's input is converted after it has been cut.
    full = Preprocessing().to_pixels(decode(data)).astype(float)
    assert np.abs(full - Preprocessing().read_pixels(data)).mean() < 2


def test_profiles_of_another_kind_broken_ones_and_srgb_change_nothing() -> None:
    plain = decode(encode(photo(), "JPEG")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for icc in (srgb, lab, b"garbage", srgb[:200], srgb[:40] + bytes(88) + srgb[128:]):
        assert decode(encode(photo(), "JPEG", icc_profile=icc)).tobytes() == plain


def test_cmyk_is_inverted_only_where_adobe_wrote_it() -> None:
    data = encode(photo().convert("CMYK"), "JPEG", quality=95)  # Pillow writes Adobe's marker
    adobe = data.index(b"\xff\xee")
    length = struct.unpack_from(">H", data, adobe + 2)[0]
    plain = data[:adobe] + data[adobe + 2 + length :]
    assert difference(data, photo()) < 4
    negative = Image.fromarray(255 - np.asarray(photo()))
    # Without the marker the values are ink as they are; here Adobe's were the inverse.
    assert np.asarray(decode(plain), float).mean() < np.asarray(negative, float).mean()
    inverted = encode(
        Image.fromarray(255 - np.asarray(photo().convert("CMYK")), "CMYK"), "JPEG", quality=95
    )
    adobe = inverted.index(b"\xff\xee")
    assert difference(inverted[:adobe] + inverted[adobe + 2 + length :], photo()) < 4


def test_white_is_zero_is_no_negative() -> None:
    grey = np.asarray(photo().convert("L"))
    eight = encode(Image.fromarray(grey), "TIFF", tiffinfo={262: 0})  # Pillow inverts the values
    sixteen = encode(
        Image.fromarray(65535 - grey.astype(np.uint16) * 257), "TIFF", tiffinfo={262: 0}
    )
    for data in (eight, sixteen):
        assert np.abs(np.asarray(decode(data).convert("L"), float) - grey).mean() < 1


def test_transparent_colours_are_laid_on_white() -> None:
    red = Image.new("RGB", (9, 9), (255, 0, 0))
    assert decode(encode(red, "PNG", transparency=(255, 0, 0))).getpixel((1, 1)) == (255,) * 3
    grey16 = Image.fromarray(np.full((9, 9), 1000, np.uint16))
    assert decode(encode(grey16, "PNG", transparency=1000)).getpixel((1, 1)) == (255,) * 3
    assert decode(encode(grey16, "PNG", transparency=1001)).getpixel((1, 1)) == (3,) * 3
    two_bits = (
        chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0))
        + chunk(b"tRNS", b"\0\1")
        + chunk(b"IDAT", zlib.compress(b"\0\x1b"))  # the greys 0, 1, 2 and 3
        + chunk(b"IEND", b"")
    )
    pixels = np.asarray(decode(b"\x89PNG\r\n\x1a\n" + two_bits))
    assert pixels[0, :, 0].tolist() == [0, 255, 170, 255]


def test_large_photos_are_converted_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = (photo().convert("RGBA"), Image.fromarray(np.full((30, 20), 9999, np.uint16)))
    whole = [decode(encode(image, "PNG")).tobytes() for image in cases]
    monkeypatch.setattr(color, "_STRIP_PIXELS", 1000)
    assert [decode(encode(image, "PNG")).tobytes() for image in cases] == whole


@pytest.mark.parametrize("values", [np.full((9, 9), 0.5, np.float32), np.full((9, 9), 9, np.int32)])
def test_samples_of_32_bits_are_refused_by_name(values: npt.NDArray[np.generic]) -> None:
    with pytest.raises(PhotoError, match=r"8 or 16 bits per channel, got a TIFF photo of .*32"):
        decode(encode(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("order", ["<", ">"])
def test_white_is_zero_holds_for_16_bits_of_any_byte_order(order: str) -> None:
    values = np.asarray(photo(64, 48).convert("L"))
    pixels = ((255 - values.astype(np.uint16)) * 257).astype(f"{order}u2").tobytes()
    tags = {256: 64, 257: 48, 258: 16, 259: 1, 262: 0, 273: 110, 277: 1, 278: 48}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, n) for tag, n in tags.items())
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    tiff = (start + entries + bytes(4)).ljust(110, b"\0") + pixels
    assert difference(tiff, Image.fromarray(values).convert("RGB")) < 1
