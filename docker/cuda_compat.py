#!/usr/bin/env python3
"""Print the folder of CUDA compatibility libraries that must lead LD_LIBRARY_PATH, if any.

    cuda_compat.py DRIVER_VERSION_FILE CUDA_HOME

The libraries are the user-space half of a newer driver: they help exactly where the host's driver
is older than they are, on data-center GPUs and certain driver branches; elsewhere they break CUDA.
https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

# NVIDIA's PyTorch images keep the libraries in lib.real, others in the folder itself.
COMPAT_FOLDERS = ("compat/lib.real", "compat/lib", "compat")

USABLE = (0, 100)  # CUDA_SUCCESS; CUDA_ERROR_NO_DEVICE, when CUDA_VISIBLE_DEVICES hides them all

GOLDEN = """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
version = ctypes.c_int()
cuda.cuDriverGetVersion(ctypes.byref(version))
print(cuda.cuInit(0), version.value // 1000)
"""


def version_key(version: str) -> tuple[int, ...]:
    """Return ``(535, 129, 3)`` for ``"535.129.03"``."""
    return tuple(int(part) for part in version.split("."))


def compat_library(cuda_home: Path) -> Path | None:
    """The image's compatibility libcuda, e.g. .../compat/lib.real/libcuda.so.575.57.08."""
    for name in COMPAT_FOLDERS:
        library = cuda_home / name / "libcuda.so.1"
        if library.exists():
            return library.parent / library.resolve().name
    return None


def probe(folder: Path | None) -> tuple[int, int]:
    """Ask the driver, with a folder's libraries or the host's own.

    Returns:
        The status of cuInit (-1 where there is no answer) and the CUDA major version on offer.
    """
    environment = dict(os.environ)
    if folder:
        inherited = environment.get("LD_LIBRARY_PATH")
        environment["LD_LIBRARY_PATH"] = ":".join(filter(None, [str(folder), inherited]))
    command = [sys.executable, "-c", GOLDEN]
    try:
        answer = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
    except subprocess.SubprocessError:
        return -1, 0
    status, major = answer.stdout.split()
    return int(status), int(major)


def main(version_file: str, cuda_home: str) -> int:
    """Decide; print the folder or nothing. Exit code 1: no way to run this image's CUDA here."""
    found = re.search(
        r"^NVRM.*?Kernel Module.*?(\d+\.[\d.]+)", Path(version_file).read_text(), re.M
    )
    library = compat_library(Path(cuda_home))
    if library is None or found is None:
        return 0
    driver, compat = found[1], library.name.removeprefix("libcuda.so.")
    if version_key(driver) >= version_key(compat):
        return 0
    compat_status, wanted_major = probe(library.parent)
    if compat_status in USABLE:
        print(f"driver {driver} is older than {compat}: using {library.parent}", file=sys.stderr)
        print(library.parent)
        return 0
    # Within one CUDA major version an older driver does without them (minor version compatibility).
    native_status, native_major = probe(None)
    if native_status in USABLE and native_major >= wanted_major:
        return 0
    print(
        f"The host's NVIDIA driver {driver} cannot run this image's CUDA {wanted_major or ''}, not"
        f" even with the compatibility libraries of driver {compat} (cuInit: {compat_status})."
        f" Use a host with driver {compat} or later (on SageMaker endpoints: a newer"
        " InferenceAmiVersion), or build the image with an older BASE_IMAGE.",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
