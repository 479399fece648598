"""Tunes malloc for memory that is freed and allocated again at every layer of every step."""

import ctypes
import sys

# These are parameters of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Make this process keep the memory that it frees, for its next allocation of that size.

    By default glibc returns blocks as large as activations to the kernel at once, which then
    clears new ones page by page: a sixth of a ResNet-18's training step on a CPU, and a third of a
    MobileNetV2's. The resident size stays at its peak, which it reaches in the first steps.
    It has no effect on a C library without mallopt(3).
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
