"""docker/cuda_compat.py against small libraries that answer as NVIDIA's do."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.containers import REPOSITORY

pytestmark = [
    pytest.mark.images,
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]

SUCCESS, NO_DEVICE, NOT_SUPPORTED = 0, 100, 804  # answers of cuInit
IMAGE_DRIVER = "580.65.06"  # of the image's compatibility libraries


def fake_libcuda(folder: Path, driver: str, status: int, cuda: int) -> None:
    """Write a libcuda of a driver whose cuInit answers a status and that offers a CUDA version."""
    folder.mkdir(parents=True)
    source = f"""
        int cuInit(unsigned flags) {{ return {status}; }}
        int cuDriverGetVersion(int *version) {{ *version = {cuda}; return 0; }}
    """
    library = folder / f"libcuda.so.{driver}"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-"]
    subprocess.run(command, input=source, text=True, check=True, timeout=60)
    (folder / "libcuda.so.1").symlink_to(library.name)


def ask(root: Path, driver: str, host_cuda: int) -> subprocess.CompletedProcess[str]:
    """Run the check on a host with a driver that offers a CUDA version by itself."""
    fake_libcuda(root / "host", driver, SUCCESS, host_cuda)
    version = root / "version"
    version.write_text(f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Sep 5 2023\n")
    script = REPOSITORY / "docker/cuda_compat.py"
    command = [sys.executable, str(script), str(version), str(root / "cuda")]
    environment = {"LD_LIBRARY_PATH": str(root / "host")}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("driver", [IMAGE_DRIVER, "580.105.08", "595.10"])
def test_a_driver_as_new_as_the_image_needs_nothing(tmp_path: Path, driver: str) -> None:
    fake_libcuda(tmp_path / "cuda/compat", IMAGE_DRIVER, NOT_SUPPORTED, 13000)
    answer = ask(tmp_path, driver, host_cuda=13000)
    assert (answer.returncode, answer.stdout) == (0, "")


@pytest.mark.parametrize("folder", ["compat", "compat/lib", "compat/lib.real"])
@pytest.mark.parametrize("status", [SUCCESS, NO_DEVICE])
def test_an_older_driver_gets_the_compatibility_libraries(
    tmp_path: Path, folder: str, status: int
) -> None:
    fake_libcuda(tmp_path / "cuda" / folder, IMAGE_DRIVER, status, 13000)
    answer = ask(tmp_path, "535.183.01", host_cuda=12020)
    assert (answer.returncode, answer.stdout) == (0, f"{tmp_path / 'cuda' / folder}\n")


def test_an_older_driver_of_the_same_cuda_major_does_without_them(tmp_path: Path) -> None:
    fake_libcuda(tmp_path / "cuda/compat", IMAGE_DRIVER, NOT_SUPPORTED, 12090)
    answer = ask(tmp_path, "550.54.14", host_cuda=12040)
    assert (answer.returncode, answer.stdout) == (0, "")


def test_a_driver_too_old_for_either_stops_with_what_to_do(tmp_path: Path) -> None:
    fake_libcuda(tmp_path / "cuda/compat", IMAGE_DRIVER, NOT_SUPPORTED, 13000)
    answer = ask(tmp_path, "470.256.02", host_cuda=11040)
    assert answer.returncode == 1
    assert not answer.stdout
    for word in ("470.256.02", IMAGE_DRIVER, "InferenceAmiVersion", "BASE_IMAGE"):
        assert word in answer.stderr


def test_an_image_without_such_libraries_needs_nothing(tmp_path: Path) -> None:
    answer = ask(tmp_path, "470.256.02", host_cuda=11040)
    assert (answer.returncode, answer.stdout) == (0, "")
