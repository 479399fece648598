"""Files that appear under their name when they are whole."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = ".partial"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
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


def remove_partial(folder: Path) -> None:
    """Remove what a writer that was killed left in a folder; the folder may be missing.

    Raises:
        OSError: The folder cannot be written.
    """
    for partial in folder.glob(f".*{_PARTIAL}"):
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    with written_whole(path) as partial:
        partial.write_text(json.dumps(value, indent=2))
