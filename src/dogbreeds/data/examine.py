"""Examine every photo once: whether it can be decoded, what it is, what it looks like."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dogbreeds.data.near_duplicates import Look, look_of
from dogbreeds.data.photo import Photo
from dogbreeds.data.workers import in_processes
from dogbreeds.model.color import to_srgb
from dogbreeds.model.photo import Header, PhotoError, decode_unconverted

# libjpeg scales larger photos down to a short side of no less: faster, and all of the file is read.
_MIN_SIDE = 128
_APART = 4  # distance of the pixels of a coarse difference
_DETAILED = 0.3  # bytes per pixel that no blurred JPEG reaches at quality 95 or less
_LINES = 16  # rows, and columns, whose pixels are compared


@dataclass(frozen=True, slots=True)
class Facts(Header):
    """What is known of a photo that can be decoded."""

    size: int  # of the file in bytes
    digest: bytes  # of the file's bytes
    look: Look  # for finding near-duplicates
    sharpness: float  # 0.25 (blurred) to 1 (noise; one color; a JPEG whose size proves detail)


def examine(
    photos: Sequence[Photo],
    workers: int,
    on_progress: Callable[[int], object] = lambda photos: None,
    *,
    min_side: int = _MIN_SIDE,
    tolerate_truncated: bool = False,
    on_decoded: Callable[[int, Image.Image], object] = lambda position, image: None,
) -> list[Facts | str]:
    """Return each photo's facts, or why `decode_unconverted` cannot decode it; by `in_processes`.

    `on_progress` is called with the number of photos done since the last call; `on_decoded` in a
    worker, with a photo's position and its unconverted image. A photo's facts take about 1.5 kB.
    OSError if a worker was killed.
    """

    def examine_chunk(chunk: range) -> list[Facts | str]:
        found: list[Facts | str] = []
        for position in chunk:
            try:
                data = photos[position].read_bytes()
                image, stored = decode_unconverted(
                    data, min_side, tolerate_truncated=tolerate_truncated
                )
            except (PhotoError, OSError) as error:
                found.append(str(error))
                continue
            found.append(_facts(data, image, stored))
            on_decoded(position, image)
        return found

    found: list[Facts | str] = []
    with closing(in_processes(examine_chunk, len(photos), workers)) as results:
        for chunk, result in results:
            found += result
            on_progress(len(chunk))
    return found


def _facts(data: bytes, image: Image.Image, stored: Header) -> Facts:
    digest = hashlib.blake2b(data, digest_size=16).digest()
    # Training decodes at the model's size. Halved as often as libjpeg would for `_MIN_SIDE`, looks
    # are equal to the last bits, so training and `dogbreeds.data.check` find the same copies.
    factor = 1
    while min(image.size) // (2 * factor) >= _MIN_SIDE:
        factor *= 2
    small = to_srgb(image.reduce(factor) if factor > 1 else image)
    # Sharpness takes a tenth of this function's time, and few photos need it.
    detailed = stored.format == "JPEG" and len(data) > _DETAILED * stored.width * stored.height
    look, sharpness = look_of(small), 1.0 if detailed else _sharpness(small)
    header = stored.format, stored.mode, stored.width, stored.height
    return Facts(*header, len(data), digest, look, sharpness)


def _sharpness(image: Image.Image) -> float:
    """Return the difference of adjacent pixels relative to that of pixels 4 apart, in green."""
    pixels = np.asarray(image.getchannel("G"))
    fine = coarse = 0.0
    for across in (pixels, pixels.T):
        lines = across[:: max(1, len(across) // _LINES)].astype(np.int16)
        if lines.shape[1] > _APART:
            fine += float(np.abs(lines[:, 1:] - lines[:, :-1]).mean())
            coarse += float(np.abs(lines[:, _APART:] - lines[:, :-_APART]).mean())
    return fine / coarse if coarse else 1.0
