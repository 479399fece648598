"""A control group with a memory limit, as a container's: what exceeds it is killed."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CGROUP = Path("/sys/fs/cgroup")


@contextmanager
def memory_group(megabytes: int) -> Iterator[Callable[[int], object]]:
    """Yield what puts a process into a new group, by its pid; its later children are in it, too."""
    groups = dict(
        line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()
    )
    version_1 = (CGROUP / "memory").is_dir()
    root = CGROUP / "memory" if version_1 else CGROUP
    own = groups.get("memory" if version_1 else "", "/").lstrip("/")
    group = root / own / f"dogbreeds-drill-{os.getpid()}"
    limit = group / ("memory.limit_in_bytes" if version_1 else "memory.max")
    try:
        group.mkdir()
        limit.write_text(str(megabytes * 2**20))
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"limiting the memory of processes is not allowed here: {error}")
    try:
        yield lambda pid: (group / "cgroup.procs").write_text(str(pid))
    finally:
        deadline = time.monotonic() + 20
        while group.is_dir():  # until what was killed in it is gone
            try:
                group.rmdir()
            except OSError:
                assert time.monotonic() < deadline, (group / "cgroup.procs").read_text()
                time.sleep(0.1)
