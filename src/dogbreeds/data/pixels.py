"""Read every photo of a split once, in parallel: examine it, decode it, keep its pixels.

`dogbreeds.data.cache` decides where pixels are kept. Where there is no room, this pass still finds
broken photos, and photos are decoded again whenever they are needed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from dogbreeds.data.cache import CacheTier, SharedArray, allocate
from dogbreeds.data.examine import Facts, examine
from dogbreeds.data.folders import Split
from dogbreeds.data.photo import Photo, PhotosError
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
    `on_progress` is called as by `examine`. PhotosError for a broken photo that fails, or if none
    is left; OSError if the cache's file cannot be written.
    """
    count, size = len(split.paths), preprocessing.image_size
    pixels = None if cache == "none" else allocate((count, size, size, 3), cache)

    def keep(position: int, image: Image.Image) -> None:
        if pixels:
            pixels.array[position] = preprocessing.cut(image)

    found = examine(
        split.paths,
        workers,
        on_progress,
        min_side=preprocessing.resize_size,
        tolerate_truncated=broken_photos == "tolerate",
        on_decoded=keep,
    )
    examined = list(zip(split.paths, found, strict=True))
    broken = [(path, reason) for path, reason in examined if isinstance(reason, str)]
    if broken and broken_photos == "fail":
        path, reason = broken[0]
        raise PhotosError(f"{path}: {reason} ({len(broken)} broken in all)")
    kept = [position for position, fact in enumerate(found) if isinstance(fact, Facts)]
    if not kept:
        raise PhotosError(f"no photo of split {split.name} can be decoded: {broken[0][1]}")
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
        facts=tuple(fact for fact in found if isinstance(fact, Facts)),
        broken=tuple(broken),
    )
