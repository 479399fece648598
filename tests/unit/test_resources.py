"""What this process may use of its machine."""

import os
from pathlib import Path

import pytest

from dogbreeds.system.resources import available_cpus, free_memory, gpu_count, memory_limit

GIB = 2**30


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with 8 GiB available; the process is in control group /box."""
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {8 * GIB // 1024} kB\n")
    (folder / "self" / "cgroup").write_text("0::/box\n")
    return folder


def group(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_the_memory_of_a_machine_without_limits_is_what_the_kernel_says(
    proc: Path, tmp_path: Path
) -> None:
    group(tmp_path / "box", memory__max="max\n", memory__current="5\n", memory__stat="")
    assert free_memory(tmp_path, proc) == 8 * GIB


@pytest.mark.parametrize("where", ["box", "."])
def test_a_containers_limit_counts_and_its_page_cache_does_not(
    proc: Path, tmp_path: Path, where: str
) -> None:
    files = {
        "memory__max": str(4 * GIB),
        "memory__current": str(3 * GIB),
        "memory__stat": f"anon {GIB}\ninactive_file {2 * GIB}\n",
    }
    root = tmp_path / "groups"
    group(root / where, **files)
    assert free_memory(root, proc) == 3 * GIB


def test_the_first_version_of_control_groups_counts_too(proc: Path, tmp_path: Path) -> None:
    (proc / "self" / "cgroup").write_text("4:memory:/docker/abc\n")
    files = {
        "memory__limit_in_bytes": str(2 * GIB),
        "memory__usage_in_bytes": str(GIB),
        "memory__stat": "total_inactive_file 0\n",
    }
    group(tmp_path / "groups" / "memory", **files)
    assert free_memory(tmp_path / "groups", proc) == GIB


def test_this_machine_has_some_memory() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < free_memory() <= total


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    ],
)
def test_the_cgroup_bounds_the_processors(files: dict[str, str], cpus: int, tmp_path: Path) -> None:
    write(tmp_path, files)
    assert available_cpus(tmp_path) == cpus


@pytest.mark.parametrize(
    "files", [{}, {"cpu.max": "max 100000"}, {"cpu/cpu.cfs_quota_us": "-1"}, {"cpu.max": ""}]
)
def test_without_a_quota_the_processors_are_the_machines(
    files: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path, files)
    assert available_cpus(tmp_path) == available_cpus(tmp_path / "none") >= 1


@pytest.mark.parametrize("file", ["memory.max", "memory/memory.limit_in_bytes"])
def test_the_cgroup_bounds_the_memory(file: str, tmp_path: Path) -> None:
    machine = memory_limit(tmp_path)
    write(tmp_path, {file: str(2**28)})
    assert memory_limit(tmp_path) == 2**28
    write(tmp_path, {file: "max" if file == "memory.max" else str(2**63 - 4096)})
    assert memory_limit(tmp_path) == machine


def test_gpus_are_counted_by_their_devices(tmp_path: Path) -> None:
    assert gpu_count(tmp_path) == 0
    for name in ("nvidia0", "nvidia11", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert gpu_count(tmp_path) == 2


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
