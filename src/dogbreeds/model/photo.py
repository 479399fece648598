"""From the bytes of a photo to upright sRGB: the one decoder of training and serving."""

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from dogbreeds.model import color
from dogbreeds.model.photo_files import PhotoError, broken, exif_orientation, open_photo

__all__ = [
    "Header",
    "PhotoError",
    "PhotoTooLargeError",
    "Readable",
    "decode",
    "decode_unconverted",
    "read_header",
    "upright_rgb",
]

MAX_MEGAPIXELS = 100.0
"""Photos with more pixels are refused before they are decoded (decompression bombs)."""

# Our own limit, which is checked on the header, stands in for Pillow's warning and error.
Image.MAX_IMAGE_PIXELS = None

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Readable(Protocol):
    """A `pathlib.Path`, or whatever else a photo can be read from."""

    def read_bytes(self) -> bytes:
        """Return the encoded photo."""


class PhotoTooLargeError(PhotoError):
    """The photo has more pixels than `MAX_MEGAPIXELS`; it was not decoded."""


@dataclass(frozen=True)
class Header:
    """What a photo's header states.

    Attributes:
        format: The name of its format, e.g. ``"JPEG"``.
        mode: Of the pixels as stored, in Pillow's words: ``"RGB"``, ``"CMYK"``, ``"I;16"``, ...
            A palette that has transparency is ``"PA"``.
        width: In pixels, as stored.
        height: In pixels, as stored.
    """

    format: str
    mode: str
    width: int
    height: int


def read_header(data: bytes) -> Header:
    """Read a photo's header; no pixel is decoded.

    Args:
        data: The encoded photo.

    Raises:
        PhotoError: The bytes are not a photo, or its header is broken.
    """
    image, name = open_photo(data, tolerate_truncated=True)
    clear_palette = image.mode == "P" and image.has_transparency_data
    return Header(name, "PA" if clear_palette else image.mode, image.width, image.height)


def decode(
    source: bytes | Readable, min_side: int | None = None, *, tolerate_truncated: bool = False
) -> Image.Image:
    """Decode a photo to upright sRGB.

    The orientation is applied, a colour profile is converted from, transparency is laid on white,
    16-bit greys are scaled to 8 bits, and of an animation the first frame is taken.

    Args:
        source: The encoded photo, or what it is read from, e.g. the path of its file.
        min_side: If given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its
            short side keeps at least this many pixels (libjpeg's scaled decoding), which costs a
            fraction of the time.
        tolerate_truncated: Fill what is missing of a truncated photo with grey or black instead
            of refusing it.

    Returns:
        An RGB image of 8 bits per channel.

    Raises:
        PhotoError: The bytes are not a photo, or it is broken or truncated.
        PhotoTooLargeError: It has more than `MAX_MEGAPIXELS` million pixels.
        OSError: The file cannot be read.
    """
    return color.to_srgb(
        decode_unconverted(source, min_side, tolerate_truncated=tolerate_truncated)
    )


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return an image that Pillow opened as `decode` does: upright, sRGB, 8 bits per channel."""
    turn = _UPRIGHT.get(exif_orientation(image.info.get("exif", b"")))
    converted = color.to_srgb(color.to_8_bits(image.copy()))
    return converted if turn is None else converted.transpose(turn)


def decode_unconverted(
    source: bytes | Readable, min_side: int | None = None, *, tolerate_truncated: bool = False
) -> Image.Image:
    """Decode a photo as `decode` does, but leave the conversion of RGB to sRGB to the caller.

    It is quicker on the pixels that are left when the photo has been cut to the model's size.

    Returns:
        An RGB image. If ``info`` has an ``"icc_profile"``, `color.to_srgb` converts it.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    photo, name = open_photo(data, tolerate_truncated=tolerate_truncated)
    megapixels = photo.width * photo.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise PhotoTooLargeError(
            f"{photo.width} x {photo.height} = {megapixels:.0f} megapixels",
            f"at most {MAX_MEGAPIXELS:g} megapixels",
        )
    try:
        if min_side is not None and name == "JPEG":
            scale = max(1.0, min(photo.size) / min_side)
            # The requested size is a floor: libjpeg picks the smallest scale that is not below it.
            photo.draft("RGB", (int(photo.width / scale), int(photo.height / scale)))
        try:
            photo.load()
        except Exception:
            if not tolerate_truncated:
                raise
            photo.tile = []  # what was decoded before the failure stays
            photo.load()
        turn = _UPRIGHT.get(photo.info.get("orientation", 1))
        image = color.to_8_bits(photo)
        del photo  # a large photo is not held more than twice
        if image.mode != "RGB":
            image = color.to_srgb(image)
        return image if turn is None else image.transpose(turn)
    except Exception as error:
        raise broken(name, error) from error
