"""What this process may use of the machine: processors, memory and GPUs."""

import ctypes
import gc
import os
import re
import sys
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = _CGROUP) -> int:
    """Return how many processors this process may use, at least 1.

    The least of the machine's processors, the affinity mask and the cgroup's quota (version 1 or
    2), rounded up.
    """
    cpus = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cpus = len(os.sched_getaffinity(0))
    quota, period = _read(cgroup / "cpu.max", 2)
    if quota is None:
        (quota,) = _read(cgroup / "cpu/cpu.cfs_quota_us", 1)
        (period,) = _read(cgroup / "cpu/cpu.cfs_period_us", 1)
    if quota and period:
        cpus = min(cpus, -(-quota // period))
    return max(1, cpus)


def available_memory(cgroup: Path = _CGROUP) -> int:
    """Return how many bytes of memory this process may use: the cgroup's limit or the machine's."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        (limit,) = _read(cgroup / file, 1)
        if limit:
            memory = min(memory, limit)
    return memory


def free_memory(cgroup: Path = _CGROUP) -> int:
    """Return how many bytes this process and its like may still take.

    The lesser of what the machine has and of what the cgroup (version 1 or 2) leaves; files that
    the kernel only keeps in its cache count as free.
    """
    free = int(psutil.virtual_memory().available)
    for limit_file, usage_file, stat_file, key in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    ):
        (limit,), (usage,) = _read(cgroup / limit_file, 1), _read(cgroup / usage_file, 1)
        if limit and usage is not None:
            lines = (cgroup / stat_file).read_text().splitlines()
            cached = next((int(line.split()[1]) for line in lines if line.split()[0] == key), 0)
            free = min(free, limit - usage + cached)
    return max(0, free)


def give_back_memory() -> None:
    """Give freed memory back to the system, after work that took far more than what it keeps."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)


def gpu_count(devices: Path = Path("/dev")) -> int:
    """Return the number of NVIDIA GPUs in this container, without starting CUDA."""
    return sum(bool(re.fullmatch(r"nvidia\d+", path.name)) for path in devices.glob("nvidia*"))


def _read(file: Path, count: int) -> list[int | None]:
    """Read numbers of a cgroup file; None stands for no limit and for no such file."""
    try:
        words = file.read_text().split()
    except OSError:
        words = []
    numbers = [int(word) if word.isdigit() else None for word in words[:count]]
    return numbers + [None] * (count - len(numbers))
