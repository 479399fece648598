"""From the bytes of a photo to upright RGB: the one decoder of training and serving."""

import io
from typing import Protocol

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from dogbreeds.system.errors import DogbreedsError

MAX_MEGAPIXELS = 100.0
"""Photos with more pixels are refused before they are decoded (decompression bombs)."""

# Our own limit, which is checked on the header, stands in for Pillow's warning and error.
Image.MAX_IMAGE_PIXELS = None
# The formats that the project documents; Pillow's others are seldom used and seldom audited.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


class Readable(Protocol):
    """A `pathlib.Path`, or whatever else a photo can be read from."""

    def read_bytes(self) -> bytes:
        """Return the encoded photo."""


class PhotoError(DogbreedsError, ValueError):
    """The bytes are no photo that can be decoded; the message says why."""


class PhotoTooLargeError(PhotoError):
    """The photo has more pixels than `MAX_MEGAPIXELS`; it was not decoded."""


def decode(
    source: bytes | Readable, min_side: int | None = None, *, tolerate_truncated: bool = False
) -> Image.Image:
    """Decode a photo to upright RGB.

    EXIF orientation is applied, transparency is laid on white, 16-bit greyscale is scaled to
    8 bits, and of an animation the first frame is taken.

    Args:
        source: The encoded photo, or what it is read from, e.g. the path of its file.
        min_side: If given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its
            short side keeps at least this many pixels (libjpeg's scaled decoding), which costs a
            fraction of the time.
        tolerate_truncated: Fill what is missing of a truncated photo with grey instead of
            refusing it.

    Returns:
        An RGB image of 8 bits a channel.

    Raises:
        PhotoError: The bytes are not a photo, or it is broken or truncated.
        PhotoTooLargeError: It has more than `MAX_MEGAPIXELS` million pixels.
        OSError: The file cannot be read.
    """
    data = source if isinstance(source, bytes | bytearray) else source.read_bytes()
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise PhotoError(_describe_unknown(data)) from None
    except Exception as error:  # Pillow's parsers raise many types on hostile headers
        raise PhotoError(f"broken photo: {error}") from error
    megapixels = image.width * image.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise PhotoTooLargeError(
            f"expected at most {MAX_MEGAPIXELS:g} megapixels, got {image.width} x {image.height}"
            f" = {megapixels:.0f} megapixels"
        )
    try:
        if min_side is not None and image.format in ("JPEG", "MPO"):
            scale = max(1.0, min(image.size) / min_side)
            # The size asked for is a floor: libjpeg picks the smallest scale that is not below it.
            image.draft("RGB", (int(image.width / scale), int(image.height / scale)))
        _load(image, tolerate_truncated)
        return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:
        raise PhotoError(f"broken or truncated {image.format} photo: {error}") from error


def _load(image: Image.Image, tolerate_truncated: bool) -> None:
    """Decode the pixels; Pillow's only switch for truncated files is a module global."""
    if not tolerate_truncated:
        image.load()
        return
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        image.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit greyscale, also where Pillow holds it in 32 bits
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray((values / 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _describe_unknown(data: bytes) -> str:
    if not data:
        return "expected a photo, got an empty file"
    if data.startswith(b"\xff\xd8") or data.startswith(b"\x89PNG"):
        return "truncated photo: its header is incomplete"
    return "expected a JPEG, PNG, WebP, BMP, GIF or TIFF photo, got something else"
