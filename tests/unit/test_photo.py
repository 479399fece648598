import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageCms

from dogbreeds.model import color
from dogbreeds.model import photo as photo_module
from dogbreeds.model.photo import (
    PhotoError,
    PhotoTooLargeError,
    decode,
    decode_unconverted,
    upright_rgb,
)
from dogbreeds.model.preprocessing import Preprocessing


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def photo(width: int = 400, height: int = 300) -> Image.Image:
    """A smooth picture whose corners differ: red to the right, green downwards."""
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, np.full_like(x, 64)], 2).astype(np.uint8))


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


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG with segments put in front of its own."""
    data = encode(photo(), "JPEG", quality=95)
    packed = [struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments]
    return data[:2] + b"".join(packed) + data[2:]


def png_with(*chunks: tuple[bytes, bytes], crc: int = 0) -> bytes:
    """A PNG with chunks put behind its header; `crc` is added to their checksums."""
    data = encode(photo(), "PNG")
    return data[:33] + b"".join(chunk(*each, crc=crc) for each in chunks) + data[33:]


def chunk(kind: bytes, body: bytes, crc: int = 0) -> bytes:
    checksum = zlib.crc32(kind + body) ^ crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def difference(data: bytes, wanted: Image.Image) -> float:
    decoded = decode(data)
    assert decoded.size == wanted.size
    assert decoded.mode == "RGB"
    return float(np.abs(np.asarray(decoded, float) - np.asarray(wanted, float)).mean())


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


# Colour


def profile(gamma: float, swapped: bool = False) -> bytes:
    """A matrix profile with sRGB's primaries, another gamma and, if so, red for blue."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for number in range(struct.unpack_from(">I", data, 128)[0]):
        tag, offset, size = struct.unpack_from(">4sII", data, 132 + 12 * number)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + size] = struct.pack(
                ">4sIHHi", b"para", 0, 0, 0, round(gamma * 65536)
            ).ljust(size, b"\0")
        if swapped and tag in (b"rXYZ", b"bXYZ"):
            data[132 + 12 * number] ^= ord("r") ^ ord("b")
    return bytes(data)


def linear_to_srgb(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


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


@pytest.mark.parametrize("order", ["<", ">"])
def test_white_is_zero_holds_for_16_bits_of_any_byte_order(order: str) -> None:
    values = np.asarray(photo(64, 48).convert("L"))
    pixels = ((255 - values.astype(np.uint16)) * 257).astype(f"{order}u2").tobytes()
    tags = {256: 64, 257: 48, 258: 16, 259: 1, 262: 0, 273: 110, 277: 1, 278: 48}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, n) for tag, n in tags.items())
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    tiff = (start + entries + bytes(4)).ljust(110, b"\0") + pixels
    assert difference(tiff, Image.fromarray(values).convert("RGB")) < 1


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


@pytest.mark.parametrize("resize_size", [224, 256])
def test_preprocessing_matches_torchvisions_resize_and_crop(resize_size: int) -> None:
    from torchvision import transforms

    image = photo(500, 375)
    steps = [transforms.Resize(resize_size), transforms.CenterCrop(224)]
    reference = transforms.Compose(steps)(image)
    ours = Preprocessing(resize_size, 224).to_pixels(image)
    assert ours.shape == (224, 224, 3)
    assert np.abs(ours.astype(float) - np.asarray(reference, float)).mean() < 2


def test_normalize_centres_imagenets_mean_and_is_channels_last() -> None:
    preprocessing = Preprocessing()
    mean = torch.tensor(preprocessing.mean).mul(255).round().to(torch.uint8)
    pixels = mean.expand(2, 8, 8, 3).contiguous()
    normalized = preprocessing.normalize(pixels)
    assert normalized.shape == (2, 3, 8, 8)
    assert normalized.abs().max() < 0.01
    assert normalized.is_contiguous(memory_format=torch.channels_last)


def test_preprocessing_survives_json_and_refuses_nonsense() -> None:
    preprocessing = Preprocessing(146, 128)
    assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing
    for wrong in ({"image_size": 0}, {"std": [1, 0, 1]}, {"image_size": 300}):
        with pytest.raises(ValueError, match="expected"):
            Preprocessing.from_dict({**preprocessing.to_dict(), **wrong})


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
