"""The sampler of system metrics over pynvml itself, and libraries that answer as NVIDIA's NVML."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.shared_library import compile_library, needs_compiler

pytest.importorskip("pynvml", reason="needs the package nvidia-ml-py")
pytestmark = [pytest.mark.integration, needs_compiler]

# Answers by the names of nvml.h.
SUCCESS, NOT_SUPPORTED, DRIVER_NOT_LOADED, GPU_IS_LOST = 0, 3, 9, 15

# As nvml.h has them: a handle is a pointer; utilization in percent; memory in bytes.
SOURCE = """
typedef struct {{ unsigned gpu, memory; }} utilization;
typedef struct {{ unsigned long long total, free, used; }} memory;
static char devices[8];
static int calls;
int nvmlInit_v2(void) {{ return {init}; }}
int nvmlInitWithFlags(unsigned flags) {{ return {init}; }}
const char *nvmlErrorString(int status) {{ return "as told"; }}
int nvmlDeviceGetCount_v2(unsigned *count) {{ *count = {count}; return 0; }}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {{
    *device = devices + index; return 0;
}}
int nvmlDeviceGetUtilizationRates(void *device, utilization *found) {{
    found->gpu = 40 + ((char *) device - devices); found->memory = 20;
    return {rates};
}}
int nvmlDeviceGetMemoryInfo(void *device, memory *found) {{
    found->total = 16ull << 30; found->used = 4ull << 30; found->free = 12ull << 30;
    return calls++ < {healthy} ? 0 : {lost};
}}
"""
PROGRAM = (
    "import json\n"
    "from dogbreeds.monitoring.system_metrics import HostReader\n"
    "reader = HostReader()\n"
    "rounds = [[s for s in reader.read() if s[0] == 'gpu'] for _ in range(2)]\n"
    "print(json.dumps(rounds))\n"
)


def sampled(folder: Path, **answers: int) -> list[list[list[object]]]:
    """Return two rounds of GPU samples over a library that answers so."""
    given = {"init": SUCCESS, "count": 2, "rates": SUCCESS, "healthy": 99, "lost": GPU_IS_LOST}
    return sampled_over(folder, SOURCE.format(**given | answers))


def sampled_over(folder: Path, source: str) -> list[list[list[object]]]:
    """Return two rounds of GPU samples over a library of this source."""
    compile_library(folder / "libnvidia-ml.so.1", source)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | {"LD_LIBRARY_PATH": str(folder)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    rounds: list[list[list[object]]] = json.loads(done.stdout)
    return rounds


def test_each_gpu_has_utilization_and_memory(tmp_path: Path) -> None:
    expected = [
        ["gpu", "gpu0", "GPUUtilization", 40], ["gpu", "gpu0", "GPUMemoryUtilization", 25.0],
        ["gpu", "gpu1", "GPUUtilization", 41], ["gpu", "gpu1", "GPUMemoryUtilization", 25.0],
    ]  # fmt: skip
    assert sampled(tmp_path) == [expected, expected]


def test_a_part_of_a_gpu_has_memory_alone(tmp_path: Path) -> None:
    expected = [["gpu", "gpu0", "GPUMemoryUtilization", 25.0]]
    assert sampled(tmp_path, count=1, rates=NOT_SUPPORTED) == [expected, expected]


def test_a_gpu_that_is_lost_leaves_the_others_sampled(tmp_path: Path) -> None:
    first, second = sampled(tmp_path, healthy=1, rates=NOT_SUPPORTED)
    assert first == [["gpu", "gpu0", "GPUMemoryUtilization", 25.0]]
    assert second == []


@pytest.mark.parametrize("answers", [{"init": DRIVER_NOT_LOADED}, {"count": 0}])
def test_a_host_without_driver_or_gpu_has_no_samples(
    tmp_path: Path, answers: dict[str, int]
) -> None:
    assert sampled(tmp_path, **answers) == [[], []]


def test_an_older_library_without_a_function_has_no_samples(tmp_path: Path) -> None:
    assert sampled_over(tmp_path, "int nvmlInit_v2(void) { return 0; }") == [[], []]
