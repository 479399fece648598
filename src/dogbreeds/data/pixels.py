"""Read every photo of a split once, in parallel: examine it, decode it, keep its pixels.

`dogbreeds.data.cache` decides where pixels are kept. Where there is no room, this pass still finds
broken photos, and photos are decoded again whenever they are needed.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dogbreeds.data.cache import CacheTier, SharedArray, allocate
from dogbreeds.data.examine import Facts, facts_of
from dogbreeds.data.folders import Split
from dogbreeds.data.photo import Photo, PhotosError, read_photos
from dogbreeds.data.workers import chunks, in_processes
from dogbreeds.model.photo import PhotoError, decode_unconverted
from dogbreeds.model.preprocessing import Preprocessing

BrokenPhotos = Literal["drop", "tolerate", "fail"]


@dataclass(frozen=True)
class DecodedSplit:
    """The N decoded photos of one split, R being the preprocessing's image size."""

    name: str
    pixels: SharedArray | None  # uint8 [N, R, R, 3]; None where there was no room for them
    targets: npt.NDArray[np.int64]  # class indexes [N]
    paths: tuple[Photo, ...]
    facts: tuple[Facts, ...]
    broken: tuple[tuple[Photo, str], ...]  # undecodable photos, not among the N, with the reason


def decode_split(
    split: Split,
    preprocessing: Preprocessing,
    *,
    workers: int,
    cache: CacheTier = "memory",
    broken_photos: BrokenPhotos = "drop",
    on_progress: Callable[[int], object] = lambda photos: None,
) -> DecodedSplit:
    """Read and decode every photo of a split, in its order; crop it by the code that serving runs.

    Of photos that cannot be decoded, `broken_photos` ``"drop"`` reports and leaves out all,
    ``"tolerate"`` keeps truncated ones with the missing part gray, and ``"fail"`` raises.
    `on_progress` is called with the number of photos done since the last call.

    Raises:
        PhotosError: A photo is broken and `broken_photos` is ``"fail"``, or none is left.
        OSError: The cache's file cannot be written.
    """
    count, size = len(split.paths), preprocessing.image_size
    pixels = None if cache == "none" else allocate((count, size, size, 3), cache)
    facts, broken = dict[int, Facts](), dict[int, str]()
    tolerate = broken_photos == "tolerate"
    job = _Job(split.paths, pixels.array if pixels else None, preprocessing, tolerate)
    with closing(in_processes(_decode_chunk, job, chunks(count), workers)) as results:
        for decoded, failures in results:
            facts.update(decoded)
            broken.update(failures)
            on_progress(len(decoded) + len(failures))
    if broken and broken_photos == "fail":
        first = min(broken)
        raise PhotosError(f"{split.paths[first]}: {broken[first]} ({len(broken)} broken in all)")
    kept = sorted(facts)
    if not kept:
        raise PhotosError(f"no photo of split {split.name} can be decoded: {broken[0]}")
    if pixels:
        if broken:  # close the gaps in place; the array may be most of the memory
            for row, source in enumerate(kept):
                pixels.array[row] = pixels.array[source]
        pixels = SharedArray(pixels.array[: len(kept)], pixels.location)
    return DecodedSplit(
        name=split.name,
        pixels=pixels,
        targets=np.array([split.targets[i] for i in kept], dtype=np.int64),
        paths=tuple(split.paths[i] for i in kept),
        facts=tuple(facts[i] for i in kept),
        broken=tuple((split.paths[i], broken[i]) for i in sorted(broken)),
    )


class _Job(NamedTuple):
    paths: tuple[Photo, ...]
    pixels: npt.NDArray[np.uint8] | None
    preprocessing: Preprocessing
    tolerate_truncated: bool


def _decode_chunk(job: _Job, chunk: range) -> tuple[dict[int, Facts], dict[int, str]]:
    facts, broken = {}, {}
    photos = read_photos([job.paths[index] for index in chunk])
    for index, (_, data) in zip(chunk, photos, strict=True):
        try:
            if isinstance(data, OSError):
                raise data
            side, tolerate = job.preprocessing.resize_size, job.tolerate_truncated
            image = decode_unconverted(data, side, tolerate_truncated=tolerate)
        except (PhotoError, OSError) as error:
            broken[index] = str(error)
            continue
        facts[index] = facts_of(data, image)
        if job.pixels is not None:
            job.pixels[index] = job.preprocessing.cut(image)
    return facts, broken
