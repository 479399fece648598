"""From the bytes of a photo to upright sRGB: the one decoder of training and serving."""

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from dogbreeds.model import color
from dogbreeds.model.photo_files import PhotoError as PhotoError  # part of this module's interface
from dogbreeds.model.photo_files import broken, exif_orientation, open_photo, refuse_if_cut

MAX_MEGAPIXELS = 100.0
"""Photos with more pixels are refused before they are decoded (decompression bombs)."""

# Our own limit, checked on the header, replaces Pillow's warning and error.
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
    """A `pathlib.Path`, or anything else that a photo can be read from."""

    def read_bytes(self) -> bytes:
        """Return the encoded photo."""


class PhotoTooLargeError(PhotoError):
    """The photo has more pixels than `MAX_MEGAPIXELS`; it was not decoded."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a photo's header states."""

    format: str  # e.g. "JPEG", whatever the file's name says
    mode: str  # of the stored pixels, in Pillow's terms; "PA" for a palette with transparency
    width: int  # in pixels, as stored
    height: int


def decode(
    source: bytes | Readable, min_side: int | None = None, *, tolerate_truncated: bool = False
) -> Image.Image:
    """Decode a photo to upright sRGB, 8 bits per channel.

    EXIF orientation and color profile are applied, transparency is composited on white, 16-bit gray
    is scaled to 8 bits, and of an animation the first frame is used. What is missing of a truncated
    photo is filled with gray or black if `tolerate_truncated`.

    With `min_side`, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its short side
    keeps at least this many pixels (libjpeg's scaled decoding), which is much faster. PhotoError if
    the bytes are not a photo, or it is broken, truncated or too large (PhotoTooLargeError); OSError
    if the file cannot be read.
    """
    image, _ = decode_unconverted(source, min_side, tolerate_truncated=tolerate_truncated)
    return color.to_srgb(image)


def upright_rgb(image: Image.Image) -> Image.Image:
    """Convert an image that Pillow opened as `decode` does: upright, sRGB, 8 bits per channel."""
    turn = _UPRIGHT.get(exif_orientation(image.info.get("exif", b"")))
    converted = color.to_srgb(color.to_8_bits(image.copy()))
    return converted if turn is None else converted.transpose(turn)


def decode_unconverted(
    source: bytes | Readable, min_side: int | None = None, *, tolerate_truncated: bool = False
) -> tuple[Image.Image, Header]:
    """Decode a photo as `decode` does, but leave the conversion of RGB to sRGB to the caller.

    `color.to_srgb` converts it if ``info`` has an ``"icc_profile"``; this is faster once the photo
    has been cropped to the model's size. The header tells what was stored.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    photo, name = open_photo(data, tolerate_truncated=tolerate_truncated)
    clear_palette = photo.mode == "P" and photo.has_transparency_data
    header = Header(name, "PA" if clear_palette else photo.mode, photo.width, photo.height)
    megapixels = photo.width * photo.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        size = f"{photo.width} x {photo.height} = {megapixels:.0f} megapixels"
        raise PhotoTooLargeError(size, f"at most {MAX_MEGAPIXELS:g} megapixels")
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
            photo.tile = []  # keep what was decoded before the failure
            photo.load()
        if name == "JPEG" and not tolerate_truncated:
            bottom = photo.crop((0, photo.height - 1, photo.width, photo.height)).convert("RGB")
            if bottom.getextrema() == ((128, 128),) * 3:  # libjpeg fills in what is missing
                refuse_if_cut(data)
        turn = _UPRIGHT.get(photo.info.get("orientation", 1))
        image = color.to_8_bits(photo)
        del photo  # hold no more than two copies of a large photo
        if image.mode != "RGB":
            image = color.to_srgb(image)
        return (image if turn is None else image.transpose(turn)), header
    except PhotoError:
        raise
    except Exception as error:
        raise broken(name, error) from error
