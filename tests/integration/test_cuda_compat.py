"""docker/cuda_compat.py and the entry point, with small libraries that answer as NVIDIA's do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.shared_library import compile_library, needs_compiler

pytestmark = [pytest.mark.integration, needs_compiler]

DOCKER = Path(__file__).parents[2] / "docker"
# Answers of cuInit, by the names of CUDA's driver API.
SUCCESS, NOT_INITIALIZED, NO_DEVICE = 0, 3, 100
SYSTEM_NOT_READY, DRIVER_MISMATCH, NOT_SUPPORTED, UNKNOWN = 802, 803, 804, 999
IMAGE_DRIVER = "580.65.06"  # of the image's compatibility libraries

# /proc/driver/nvidia/version of a driver of each branch, in the two forms that users report: of the
# proprietary kernel module, and of the open one, with "for x86_64" before the version.
VERSION_FILES = {
    "470.256.02": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02"
    "  Thu May  2 14:37:44 UTC 2024\nGCC version:  gcc version 7.3.1 20180712 (Red Hat 7.3.1-17)\n",
    "535.183.01": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01"
    "  Sun May 12 19:39:15 UTC 2024\nGCC version:  gcc version 7.3.1 20180712 (Red Hat 7.3.1-17)\n",
    "550.163.01": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.163.01"
    "  Release Build  (dvs-builder@U16-I3)  Tue Apr  8 12:01:27 UTC 2025\n"
    "GCC version:  gcc version 10.5.0 (GCC) \n",
    "580.105.08": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.105.08"
    "  Release Build  (mockbuild@ip-10-0-0-1)  Wed Oct 29 22:15:28 UTC 2025\n"
    "GCC version:  gcc version 11.5.0 20240719 (Red Hat 11.5.0-5) (GCC) \n",
    "595.71.05": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.71.05"
    "  Release Build  (root@host)  Mon Apr 20 10:00:00 UTC 2026\n"
    "GCC version:  gcc version 14.2.0 (Debian 14.2.0-19) \n",
}
HOST_CUDA = {"470": 11040, "535": 12020, "550": 12040, "580": 13000, "595": 13020}


def fake_libcuda(folder: Path, driver: str, status: int, cuda: int) -> None:
    """Write a libcuda of a driver whose cuInit answers a status and that offers a CUDA version."""
    source = f"""
        int cuInit(unsigned flags) {{ return {status}; }}
        int cuDriverGetVersion(int *version) {{ *version = {cuda}; return 0; }}
    """
    library = compile_library(folder / f"libcuda.so.{driver}", source)
    (folder / "libcuda.so.1").symlink_to(library.name)


def host(root: Path, driver: str, status: int = SUCCESS) -> dict[str, str]:
    """Make a host with a driver: its version file and libcuda; return the environment."""
    fake_libcuda(root / "host", driver, status, HOST_CUDA[driver[:3]])
    (root / "version").write_text(VERSION_FILES[driver])
    return {"LD_LIBRARY_PATH": str(root / "host"), "PATH": os.environ["PATH"]}


def ask(root: Path, driver: str, status: int = SUCCESS) -> subprocess.CompletedProcess[str]:
    """Run the check on a host with a driver, whose own libcuda answers a status."""
    script = [sys.executable, str(DOCKER / "cuda_compat.py")]
    environment = host(root, driver, status)
    return subprocess.run(
        [*script, str(root / "version"), str(root / "cuda")],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("driver", ["580.105.08", "595.71.05"])
def test_a_driver_as_new_as_the_image_needs_nothing(tmp_path: Path, driver: str) -> None:
    fake_libcuda(tmp_path / "cuda/compat", IMAGE_DRIVER, NOT_SUPPORTED, 13000)
    answer = ask(tmp_path, driver)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.parametrize("folder", ["compat", "compat/lib", "compat/lib.real"])
@pytest.mark.parametrize("status", [SUCCESS, NO_DEVICE])
@pytest.mark.parametrize("driver", ["470.256.02", "535.183.01", "550.163.01"])
def test_an_older_driver_gets_the_compatibility_libraries(
    tmp_path: Path, driver: str, status: int, folder: str
) -> None:
    fake_libcuda(tmp_path / "cuda" / folder, IMAGE_DRIVER, status, 13000)
    answer = ask(tmp_path, driver)
    assert (answer.returncode, answer.stdout) == (0, f"{tmp_path / 'cuda' / folder}\n")
    assert f"driver {driver} is older than {IMAGE_DRIVER}" in answer.stderr


@pytest.mark.parametrize(
    "status", [NOT_INITIALIZED, SYSTEM_NOT_READY, DRIVER_MISMATCH, NOT_SUPPORTED, UNKNOWN]
)
def test_an_older_driver_of_the_same_cuda_major_does_without_them(
    tmp_path: Path, status: int
) -> None:
    fake_libcuda(tmp_path / "cuda/compat", "575.57.08", status, 12090)
    answer = ask(tmp_path, "550.163.01")
    assert (answer.returncode, answer.stdout) == (0, "")


@pytest.mark.parametrize("status", [NOT_SUPPORTED, DRIVER_MISMATCH, UNKNOWN])
@pytest.mark.parametrize("driver", ["470.256.02", "535.183.01", "550.163.01"])
def test_a_driver_too_old_for_either_stops_with_what_to_do(
    tmp_path: Path, driver: str, status: int
) -> None:
    fake_libcuda(tmp_path / "cuda/compat", IMAGE_DRIVER, status, 13000)
    answer = ask(tmp_path, driver)
    assert answer.returncode == 1
    assert not answer.stdout
    for word in (driver, IMAGE_DRIVER, f"cuInit: {status}", "InferenceAmiVersion", "BASE_IMAGE"):
        assert word in answer.stderr


@pytest.mark.parametrize("source", ["int cuInit(unsigned f) { __builtin_trap(); }", "int none;"])
def test_a_library_that_crashes_or_lacks_the_function_is_not_used(
    tmp_path: Path, source: str
) -> None:
    compat = tmp_path / "cuda/compat"
    compile_library(compat / f"libcuda.so.{IMAGE_DRIVER}", source)
    (compat / "libcuda.so.1").symlink_to(f"libcuda.so.{IMAGE_DRIVER}")
    answer = ask(tmp_path, "550.163.01")
    # What it would have offered is unknown, so the host's own driver is tried.
    assert (answer.returncode, answer.stdout) == (0, "")


def test_an_image_without_such_libraries_needs_nothing(tmp_path: Path) -> None:
    answer = ask(tmp_path, "470.256.02")
    assert (answer.returncode, answer.stdout) == (0, "")


def enter(root: Path, driver: str | None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the image's entry point with its absolute paths moved below a folder."""
    script = (DOCKER / "entrypoint.sh").read_text()
    moved = {
        "/dev/nvidiactl": root / "nvidiactl", "/proc/driver/nvidia/version": root / "version",
        "/opt/dogbreeds": DOCKER, "/usr/local/cuda": root / "cuda",
    }  # fmt: skip
    for path, place in moved.items():
        assert path in script
        script = script.replace(path, str(place))
    given = {"PATH": os.environ["PATH"], **environment}
    if driver:
        given = {**host(root, driver), **environment}
        (root / "nvidiactl").touch()
    program = 'echo "$$ $LD_LIBRARY_PATH"; exit 7'
    return subprocess.run(
        ["sh", "-c", 'echo $$; exec sh -c "$0" entrypoint sh -c "$1"', script, program],
        env=given, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_entry_point_puts_the_libraries_first_and_becomes_the_program(tmp_path: Path) -> None:
    fake_libcuda(tmp_path / "cuda/compat/lib.real", IMAGE_DRIVER, SUCCESS, 13000)
    answer = enter(tmp_path, "535.183.01")
    assert answer.returncode == 7, answer.stderr
    before, line = answer.stdout.splitlines()
    process, path = line.split()
    assert process == before  # exec: signals reach the program
    assert path.split(":") == [str(tmp_path / "cuda/compat/lib.real"), str(tmp_path / "host")]


def test_the_entry_point_leaves_hosts_without_a_gpu_alone(tmp_path: Path) -> None:
    fake_libcuda(tmp_path / "cuda/compat", IMAGE_DRIVER, SUCCESS, 13000)
    answer = enter(tmp_path, None, LD_LIBRARY_PATH="/own")
    assert (answer.returncode, answer.stdout.split()[-1]) == (7, "/own")


def test_the_entry_point_stops_where_no_cuda_can_run(tmp_path: Path) -> None:
    fake_libcuda(tmp_path / "cuda/compat", IMAGE_DRIVER, NOT_SUPPORTED, 13000)
    answer = enter(tmp_path, "470.256.02")
    assert answer.returncode == 1
    assert "cannot run this image's CUDA 13" in answer.stderr
    assert len(answer.stdout.splitlines()) == 1  # the program did not start
