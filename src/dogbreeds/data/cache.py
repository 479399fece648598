"""Where decoded pixels are kept: in memory where they fit, else in a file, else nowhere.

Both stores are a nameless file descriptor: nothing is left behind however the job ends,
``/dev/shm`` (64 MB in a container) is not used, and the processes of a host share one copy by
mapping ``/proc/PID/fd/N``.
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

from dogbreeds.system.resources import free_memory

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
