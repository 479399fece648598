"""Decode all photos of a split once, in parallel, into one array of pixels.

The array lives in memory that the worker processes share without ``/dev/shm`` (an anonymous
mapping made before they are forked), so the 64 MB that Docker gives ``/dev/shm`` do not matter.
"""

import mmap
import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from dogbreeds.data.folders import PhotosError, Split
from dogbreeds.images import PhotoError, Preprocessing

BrokenPhotos = Literal["drop", "tolerate", "fail"]
_CHUNK = 16  # photos a worker takes at a time: small enough for a smooth progress bar


@dataclass(frozen=True)
class DecodedSplit:
    """The decoded photos of one split.

    Attributes:
        pixels: Shape [N, R, R, 3], dtype uint8, R the preprocessing's image size.
        targets: Shape [N], dtype int64, class indexes.
        paths: The N files that the pixels come from.
        broken: Files that could not be decoded and are left out, with the reason.
    """

    pixels: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.int64]
    paths: tuple[Path, ...]
    broken: tuple[tuple[Path, str], ...]


def decode_split(
    split: Split,
    preprocessing: Preprocessing,
    *,
    workers: int,
    broken_photos: BrokenPhotos = "drop",
    on_progress: Callable[[int], object] = lambda photos: None,
) -> DecodedSplit:
    """Decode every photo of a split.

    Args:
        split: The photos.
        preprocessing: Its `to_pixels` cuts each photo; the same code that serving runs.
        workers: Processes to decode with.
        broken_photos: ``"drop"`` leaves photos that cannot be decoded out and reports them,
            ``"tolerate"`` keeps truncated ones with the missing part grey, ``"fail"`` raises.
        on_progress: Called with the number of photos done since the last call.

    Returns:
        The pixels of the photos that could be decoded, in the order of the split.

    Raises:
        PhotosError: A photo is broken and `broken_photos` is ``"fail"``, or none is left.
    """
    size = preprocessing.image_size
    shape = (len(split.paths), size, size, 3)
    shared = mmap.mmap(-1, int(np.prod(shape)))
    pixels = np.frombuffer(shared, dtype=np.uint8).reshape(shape)
    tolerate = broken_photos == "tolerate"
    broken: dict[int, str] = {}
    chunks = [range(i, min(i + _CHUNK, len(split.paths))) for i in range(0, shape[0], _CHUNK)]
    # fork, because the workers must share the mapping; they run Pillow and NumPy only.
    context = multiprocessing.get_context("fork")
    job = _Job(split.paths, pixels, preprocessing, tolerate)
    with context.Pool(workers, initializer=_set_job, initargs=(job,)) as pool:
        for count, failures in pool.imap_unordered(_decode_chunk, chunks):
            broken.update(failures)
            on_progress(count)
    if broken and broken_photos == "fail":
        first = min(broken)
        raise PhotosError(f"{split.paths[first]}: {broken[first]} ({len(broken)} broken in all)")
    kept = [i for i in range(len(split.paths)) if i not in broken]
    if not kept:
        raise PhotosError(f"no photo of split {split.name} can be decoded: {broken[0]}")
    if broken:  # close the gaps in place; the array may be most of the memory
        for row, source in enumerate(kept):
            pixels[row] = pixels[source]
    return DecodedSplit(
        pixels=pixels[: len(kept)],
        targets=np.array([split.targets[i] for i in kept], dtype=np.int64),
        paths=tuple(split.paths[i] for i in kept),
        broken=tuple((split.paths[i], broken[i]) for i in sorted(broken)),
    )


@dataclass(frozen=True)
class _Job:
    paths: tuple[Path, ...]
    pixels: npt.NDArray[np.uint8]
    preprocessing: Preprocessing
    tolerate_truncated: bool


_job: _Job


def _set_job(job: _Job) -> None:
    global _job  # the worker's one piece of state, inherited by fork and never pickled
    _job = job
    # The parent's handlers came along; the pool ends its workers by SIGTERM.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _decode_chunk(chunk: range) -> tuple[int, dict[int, str]]:
    broken = {}
    for index in chunk:
        try:
            _job.pixels[index] = _job.preprocessing.read_pixels(
                _job.paths[index], tolerate_truncated=_job.tolerate_truncated
            )
        except (PhotoError, OSError) as error:
            broken[index] = str(error)
    return len(chunk), broken
