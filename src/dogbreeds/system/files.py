"""Atomic writes of files and folders."""

import errno
import itertools
import json
import mimetypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = ".partial"
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # a write names no file


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary file next to `path`, renamed to it on success and removed otherwise.

    It is called ``.NAME.RANDOM.partial``, which no pattern for finished files matches. The folder
    is created if missing. OSError if it cannot be written; `path` is then unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PARTIAL)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())  # otherwise the rename may reach the disk before the data
        partial.chmod(0o644)  # mkstemp's 0600 would hide it from other users, e.g. a server's
        partial.replace(path)
    except OSError as error:
        if error.errno in _DISK_ERRORS and not error.filename:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder ``.NAME.RANDOM.partial``, renamed to `folder` on success, else removed.

    FileExistsError if `folder` is not empty, OSError if it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists already: remove it or name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=_PARTIAL))
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp's 0700 would hide it from other users
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partial(folder: Path) -> None:
    """Delete what killed writers left in a folder, which may be missing; OSError if that fails."""
    for partial in folder.glob(f".*{_PARTIAL}"):
        partial.unlink(missing_ok=True)


def free_path(path: Path) -> Path:
    """Return a path that does not exist: the given one, or ``NAME~2.SUFFIX``, ``NAME~3``, ..."""
    numbered = (path.with_name(f"{path.stem}~{n}{path.suffix}") for n in itertools.count(2))
    return next(free for free in itertools.chain([path], numbered) if not free.exists())


def content_type(photo: Path) -> str:
    """Return a photo's content type by its name; a server detects other files by their bytes."""
    kind, _ = mimetypes.guess_type(photo.name)
    return kind if kind and kind.startswith("image/") else "application/octet-stream"


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically; OSError if that fails."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(value, indent=2))
