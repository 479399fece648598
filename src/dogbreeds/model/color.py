"""Convert pixels as a photo stores them to sRGB of 8 bits per channel."""

import functools
import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

_STRIP_PIXELS = 2**22  # are converted at a time, to limit memory
_SAME = 2  # levels; a profile that changes colors by no more is treated as sRGB


def to_8_bits(image: Image.Image) -> Image.Image:
    """Convert a loaded image to mode L, RGB or CMYK without transparency.

    Transparent pixels become white; 16-bit gray is scaled, and inverted if ``info`` has a true
    ``"white_is_zero"``.
    """
    if image.mode.startswith("I"):
        return _in_strips(image, "L", _from_16_bits)
    if image.has_transparency_data:
        return _in_strips(image, "RGB", _on_white)
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert an L, RGB or CMYK image to RGB, from its profile in ``info["icc_profile"]`` if any.

    A profile that is broken, or made for another kind of pixels, is ignored.
    """
    profile = image.info.pop("icc_profile", None)
    if profile and (transform := _transform(profile, image.mode)):
        return transform(image)
    return image if image.mode == "RGB" else image.convert("RGB")


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    """Return a function that converts to sRGB, or None if there is nothing to convert."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != {"L": "GRAY"}.get(mode, mode):
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode != "RGB":
            return functools.partial(_apply, transform)
        levels = np.arange(0, 256, 17, dtype=np.uint8)
        samples = np.stack(np.meshgrid(levels, levels, levels), 3).reshape(16, -1, 3)
        changed = np.asarray(ImageCms.applyTransform(Image.fromarray(samples), transform))
    except Exception:  # lcms raises many types for a broken profile
        return None
    if np.abs(changed.astype(int) - samples).max() <= _SAME:
        return None
    return functools.partial(_apply, transform)


def _apply(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.readonly:
        ImageCms.applyTransform(image, transform, inPlace=True)
        return image
    return ImageCms.applyTransform(image, transform) or image


def _in_strips(
    image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    rows = max(1, _STRIP_PIXELS // image.width)
    if rows >= image.height:
        result = convert(image)
    else:
        result = Image.new(mode, image.size)
        for top in range(0, image.height, rows):
            box = (0, top, image.width, min(top + rows, image.height))
            result.paste(convert(image.crop(box)), box)
    result.info = image.info
    return result


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image, dtype=np.int32)  # Pillow stores some in 32 bits
    gray = (values.clip(0, 65535) / 257).astype(np.uint8)
    if image.info.get("white_is_zero"):
        gray = 255 - gray
    if "transparency" in image.info:
        gray[values == image.info["transparency"]] = 255
    return Image.fromarray(gray)
