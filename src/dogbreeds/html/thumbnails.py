"""Small pictures that travel inside a page."""

import base64
import io

from PIL import Image

from dogbreeds.model.photo import PhotoError, Readable, decode

_SIDE = 200  # pixels; a card in a page shows no more, and it takes about 5 kB


def thumbnail(photo: bytes | Readable | Image.Image, side: int = _SIDE) -> str | None:
    """Return a photo as a ``data:`` address for ``<img src>``.

    Args:
        photo: An encoded photo, what it is read from, or an RGB image.
        side: Longest side in pixels; smaller photos are not enlarged.

    Returns:
        A WebP picture without metadata of at most about `side` * `side` / 4 bytes, or None where
        the photo cannot be read.
    """
    try:
        image = photo if isinstance(photo, Image.Image) else decode(photo, side)
    except (PhotoError, OSError):
        return None
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    encoded = io.BytesIO()
    small.save(encoded, "WEBP", quality=70, method=2, exif=b"")
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode()}"
