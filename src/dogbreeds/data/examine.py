"""Look at every photo once: can it be decoded, what is it, and what does it look like."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from dogbreeds.data.near_duplicates import Look, look_of
from dogbreeds.data.photo import Photo, read_photos
from dogbreeds.data.workers import chunks, in_processes
from dogbreeds.model.photo import PhotoError, decode, read_header

# JPEGs are decoded to no more than half of this where they are larger: quicker, and enough to see
# what is broken, because all of the file is read.
_MIN_SIDE = 128


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a photo that can be decoded.

    Attributes:
        format: Of the file, e.g. ``"JPEG"``, whatever its name says.
        mode: Of the pixels as stored, in Pillow's words: ``"RGB"``, ``"CMYK"``, ``"I;16"``, ...
        width: In pixels, as stored.
        height: In pixels, as stored.
        size: Of the file in bytes.
        digest: Of the file's bytes.
        look: What it looks like, for finding near-duplicates.
    """

    format: str
    mode: str
    width: int
    height: int
    size: int
    digest: bytes
    look: Look


def examine(
    photos: Sequence[Photo],
    workers: int,
    on_progress: Callable[[int], object] = lambda photos: None,
) -> list[Facts | str]:
    """Read and decode photos.

    Args:
        photos: Of all splits.
        workers: Processes.
        on_progress: Called with the number of photos done since the last call.

    Returns:
        For each photo its facts, or the reason why it cannot be decoded. Some 500 bytes a photo.

    Raises:
        OSError: A worker was killed.
    """
    found: list[Facts | str] = []
    with closing(in_processes(_examine_chunk, photos, chunks(len(photos)), workers)) as results:
        for result in results:
            found += result
            on_progress(len(result))
    return found


def _examine_chunk(photos: Sequence[Photo], chunk: range) -> list[Facts | str]:
    found: list[Facts | str] = []
    for _, data in read_photos([photos[index] for index in chunk]):
        try:
            found.append(str(data) if isinstance(data, OSError) else _examine(data))
        except PhotoError as error:
            found.append(str(error))
    return found


def _examine(data: bytes) -> Facts:
    image = decode(data, _MIN_SIDE)
    stored = read_header(data)
    digest = hashlib.blake2b(data, digest_size=16).digest()
    size = stored.width, stored.height
    return Facts(stored.format, stored.mode, *size, len(data), digest, look_of(image))
