"""Read zip archives, and tar archives of any compression."""

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from dogbreeds.system.errors import DogbreedsError

BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RecursionError,
          UnicodeError, NotImplementedError)  # fmt: skip
"""What reading a broken archive raises; NotImplementedError is zipfile's for unknown methods."""


class ArchiveError(DogbreedsError, ValueError):
    """The archive is broken or unsafe; the message says why."""


class Member(NamedTuple):
    """A file or folder of an archive."""

    name: str
    size: int  # in bytes, unpacked
    is_folder: bool
    is_file: bool  # neither a folder nor a link nor a device
    open: Callable[[], IO[bytes] | None]  # follows links; None for a device


@contextmanager
def open_archive(path: Path) -> Iterator[Iterable[Member]]:
    """Yield the members of an archive; those of a zip as a list, to be read in any order.

    ArchiveError if it is no archive, has a password or is broken, also where members are read in
    the body of ``with``; OSError if it cannot be read.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                yield [_zip_member(file, info) for info in file.infolist()]
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as tar:
                yield (
                    Member(m.name, m.size, m.isdir(), m.isreg(), partial(tar.extractfile, m))
                    for m in tar
                )
        else:
            with path.open("rb") as stream:
                start = stream.read(12)
            raise ArchiveError(
                f"expected a zip or tar archive, got a file of {path.stat().st_size} bytes that"
                f" starts with {start!r}"
            )
    except BROKEN as error:
        raise ArchiveError(f"broken archive {path.name}: {error}") from error


def _zip_member(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    if info.flag_bits & 1:
        raise ArchiveError("expected a zip archive without a password")
    name = info.filename
    if not info.flag_bits & 0x800:  # macOS writes UTF-8 without the flag
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    is_file = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG) and not info.is_dir()
    return Member(name, info.file_size, info.is_dir(), is_file, partial(file.open, info))
