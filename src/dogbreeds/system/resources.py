"""The machine's processors, memory and GPUs that this process may use.

`cgroup` is the file system of control groups (version 1 or 2) as the container sees it.
"""

import ctypes
import gc
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # glibc has what is used of it
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # parameters of mallopt(3)


def available_cpus(cgroup: Path = _CGROUP, proc: Path = _PROC) -> int:
    """Return how many processors the affinity mask and the groups' quotas allow, at least 1."""
    # macOS lacks the affinity mask.
    cpus = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    for group in _own_groups(proc):
        quota, period = (_number(cgroup / group / "cpu.max", place) for place in range(2))
        if quota is None:
            quota = _number(cgroup / "cpu" / group / "cpu.cfs_quota_us")
            period = _number(cgroup / "cpu" / group / "cpu.cfs_period_us")
        if quota and period:
            cpus = min(cpus, -(-quota // period))
    return max(1, cpus)


def cpu_flags(proc: Path = _PROC) -> set[str]:
    """Return the processor's features by Linux's names (``arch/x86/include/asm/cpufeatures.h``)."""
    return set(_read_text(proc / "cpuinfo").split())


def int8_saturates(proc: Path = _PROC) -> bool:
    """Tell whether products of 8-bit numbers are added in 16 bits, which they can overflow.

    x86 processors do so unless they have VNNI; others have instructions of their own. Source: ONNX
    Runtime's "Quantize ONNX models", section "When and why do I need to try U8U8".
    """
    flags = cpu_flags(proc)
    return "sse2" in flags and not {"avx512_vnni", "avx_vnni"} & flags


def memory_limit(cgroup: Path = _CGROUP, proc: Path = _PROC) -> int:
    """Return how many bytes of memory this process may use: the machine's or the groups' limit."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([memory, *(limit for limit, _, _ in _memory_groups(cgroup, proc))])


def free_memory(cgroup: Path = _CGROUP, proc: Path = _PROC) -> int:
    """Return how many bytes this process may still allocate before the kernel kills it.

    It is the minimum of the machine's available memory and what the control groups leave; their
    inactive page cache counts as free because the kernel reclaims it.
    """
    meminfo = (proc / "meminfo").read_text()
    available = int(meminfo.split("MemAvailable:")[1].split()[0]) * 1024
    left = [limit - used + cached for limit, used, cached in _memory_groups(cgroup, proc)]
    return max(0, min([available, *left]))


def give_back_memory() -> None:
    """Return freed memory to the system, after work that used far more than it keeps."""
    gc.collect()
    if _LIBC and hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


def keep_freed_memory() -> None:
    """Make this process keep the memory that it frees, for its next allocation of that size.

    By default glibc returns blocks as large as activations to the kernel at once, which then
    clears new ones page by page: a sixth of a ResNet-18's training step on a CPU, and a third of a
    MobileNetV2's. The resident size stays at its peak, which it reaches in the first steps.
    """
    if _LIBC and hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(_M_MMAP_MAX, 0)
        _LIBC.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def gpu_count(devices: Path = Path("/dev")) -> int:
    """Return the number of NVIDIA GPUs in this container, without starting CUDA."""
    return sum(bool(re.fullmatch(r"nvidia\d+", path.name)) for path in devices.glob("nvidia*"))


def _own_groups(proc: Path) -> set[str]:
    """Return this process's control groups relative to the mount: "" inside a container."""
    lines = _read_text(proc / "self" / "cgroup").splitlines()
    return {"", *(line.split(":", 2)[2].lstrip("/") for line in lines if line.count(":") >= 2)}


def _memory_groups(cgroup: Path, proc: Path) -> Iterator[tuple[int, int, int]]:
    """Yield limit, usage and inactive page cache in bytes of each group that has a limit."""
    for group in _own_groups(proc):
        for folder, limit, usage, cached in (
            (cgroup / group, "memory.max", "memory.current", "inactive_file"),
            (cgroup / "memory" / group, "memory.limit_in_bytes", "memory.usage_in_bytes",
             "total_inactive_file"),
        ):  # fmt: skip
            limit_bytes, used = _number(folder / limit), _number(folder / usage)
            if limit_bytes is None:
                continue
            lines = _read_text(folder / "memory.stat").splitlines()
            stat = dict(line.split()[:2] for line in lines)
            yield limit_bytes, used or 0, int(stat.get(cached, 0))


def _number(file: Path, place: int = 0) -> int | None:
    """Read a number of a cgroup file; None means that there is no limit, or no such file."""
    words = _read_text(file).split()[place:]
    return int(words[0]) if words and words[0].isdigit() else None


def _read_text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
