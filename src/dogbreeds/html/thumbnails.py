"""Small pictures that travel inside a page."""

import base64
import io

from PIL import Image

from dogbreeds.model.photo import PhotoError, Readable, decode


def thumbnail(photo: bytes | Readable | Image.Image, side: int = 200) -> str | None:
    """Return a photo, encoded, readable or an RGB image, as a ``data:`` URL for ``<img src>``.

    It is a WebP picture without metadata of at most about `side` * `side` / 4 bytes, or None if
    the photo cannot be read. Its longest side has at most `side` pixels.
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
