"""Read every photo of a split once, in parallel: examine it, decode it, keep its pixels.

Pixels are kept in memory where they fit, else in a file, else nowhere: photos are then decoded
again when needed. Both stores are a nameless file descriptor, which the processes of a host map by
``/proc/PID/fd/N``: nothing is left behind, and ``/dev/shm`` (64 MB in a container) is not used.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from dogbreeds.data.examine import Facts, examine
from dogbreeds.data.folders import Split
from dogbreeds.data.photo import Photo, PhotosError
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.system.resources import free_memory

BrokenPhotos = Literal["drop", "tolerate", "fail"]
CacheTier = Literal["memory", "file", "none"]

_MEMORY_SHARE = 0.6  # of the free memory; the model and its activations need the rest
_DISK_RESERVE = 2**30  # left free for checkpoints and reports
_IN_MEMORY = ("tmpfs", "ramfs")


def choose_tier(size: int, memory: Callable[[], int] = free_memory) -> CacheTier:
    """Return where `size` bytes of pixels can be kept, given the free memory in bytes."""
    if size <= _MEMORY_SHARE * memory():
        return "memory"
    folder = Path(tempfile.gettempdir())
    if _is_on_disk(folder) and size + _DISK_RESERVE <= shutil.disk_usage(folder).free:
        return "file"
    return "none"


def _is_on_disk(folder: Path) -> bool:
    """Tell whether files in a folder use no memory; a container's /tmp may be a tmpfs."""
    device = folder.stat().st_dev
    own = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split()[2] == own:  # proc(5): ... - FSTYPE SOURCE OPTIONS
            return line.split(" - ")[1].split()[0] not in _IN_MEMORY
    return True


@dataclass(frozen=True)
class SharedArray:
    """A uint8 array that other processes of this host can map."""

    array: npt.NDArray[np.uint8]
    location: str  # `attach` opens it in another process while this one lives


def allocate(shape: tuple[int, ...], tier: Literal["memory", "file"]) -> SharedArray:
    """Make an array of zeros, in the temporary directory for ``"file"``; OSError if it is full."""
    size = math.prod(shape)
    if tier == "memory":
        handle = os.memfd_create("dogbreeds-pixels")
        os.truncate(handle, size)
    else:
        handle, name = tempfile.mkstemp(prefix="dogbreeds-pixels-")
        Path(name).unlink()  # the last process that maps it frees the space
        os.posix_fallocate(handle, 0, size)  # a full disk is an error here, not a SIGBUS later
    # The descriptor stays open while the job runs: others attach by it.
    location = f"/proc/{os.getpid()}/fd/{handle}"
    return SharedArray(attach(location, shape), location)


def attach(location: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Map an array at `SharedArray.location` in any process of this host.

    `OSError` means that the process that allocated it is gone or belongs to another user.
    """
    return np.asarray(np.memmap(location, np.uint8, "r+", shape=shape))


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
    ``"tolerate"`` keeps truncated ones with the missing part gray, and ``"fail"`` raises
    PhotosError, as having none left does. `on_progress` is called as by `examine`.
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
