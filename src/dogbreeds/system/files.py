"""Files that appear under their name when they are whole."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = ".partial"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; it gets that name on success and is removed otherwise.

    Args:
        path: The file to write; its folder is made if missing.

    Yields:
        A path of the form ``.NAME.RANDOM.partial``, which no pattern for whole files matches.

    Raises:
        OSError: The folder cannot be written. What was at `path` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PARTIAL)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())  # a rename may reach the disk before what is renamed
        partial.chmod(0o644)  # mkstemp's 0600 would hide it from other users, e.g. a server's
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder`; it gets that name on success, or is removed.

    Args:
        folder: The folder to make; it must not exist, or be empty.

    Yields:
        An empty folder of the form ``.NAME.RANDOM.partial``.

    Raises:
        FileExistsError: There is something in `folder` already.
        OSError: It cannot be written.
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
    """Remove what a writer that was killed left in a folder; the folder may be missing.

    Raises:
        OSError: The folder cannot be written.
    """
    for partial in folder.glob(f".*{_PARTIAL}"):
        partial.unlink(missing_ok=True)


def free_path(path: Path) -> Path:
    """Return a path where nothing is yet: the given one, or ``NAME~2.SUFFIX``, ``NAME~3``, ..."""
    number = 2
    free = path
    while free.exists():
        free = path.with_name(f"{path.stem}~{number}{path.suffix}")
        number += 1
    return free


def write_json(path: Path, value: object) -> None:
    """Write a JSON file, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(value, indent=2))
