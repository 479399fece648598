"""Small shared libraries that answer as NVIDIA's do."""

import shutil
import subprocess
from pathlib import Path

import pytest

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (cc)")


def compile_library(library: Path, source: str) -> Path:
    """Compile C into a shared library, in a new folder if needed; return it."""
    library.parent.mkdir(parents=True, exist_ok=True)
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-"]
    subprocess.run(command, input=source, text=True, check=True, timeout=60)
    return library
