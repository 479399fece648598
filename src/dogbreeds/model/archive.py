"""Read zip and tar archives of any compression, and one file of a model artifact in any form."""

import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from dogbreeds.system.errors import DogbreedsError

TAR_FILE = "model.tar.gz"
_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
_LFS_POINTER = b"version https://git-lfs"
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RecursionError,
          UnicodeError, NotImplementedError)  # fmt: skip
"""What reading a broken archive raises."""


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

    Raises:
        ArchiveError: It is no archive, or has a password; or it is broken, also where members are
            read in the body of ``with``.
        OSError: It cannot be read.
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


def read_file(source: Path, name: str) -> bytes:
    """Return the bytes of a file; nothing is extracted to disk.

    The source is a folder that contains the file or an archive of it, or that archive. It may have
    the file in one folder; links inside it are followed.

    Raises:
        ValueError: There is no such file, or it is damaged or a git-LFS pointer.
        OSError: It cannot be read.
    """
    if source.is_dir():
        source = _find_in(source, name)
        if source.name == name:
            return _no_pointer(source, source.read_bytes())
    with source.open("rb") as stream:
        _no_pointer(source, stream.read(len(_LFS_POINTER)))
    try:
        with open_archive(source) as members:
            for member in members:
                named = _is_named(member.name, name) and not member.is_folder
                if named and (opened := member.open()):
                    return _no_pointer(source, opened.read())
    except KeyError as error:
        raise ValueError(f"{name} in {source} is a link to nothing: {error}") from error
    except ArchiveError as error:
        raise ValueError(f"cannot read the model archive {source}: {error}") from error
    raise ValueError(f"expected {name} in {source}: not an artifact of this project")


def _find_in(folder: Path, name: str) -> Path:
    archives = [path for path in sorted(folder.iterdir()) if path.name.endswith(_SUFFIXES)]
    for found in (
        [path for path in (folder / name, *sorted(folder.glob(f"*/{name}"))) if path.is_file()],
        [path for path in archives if path.name == TAR_FILE] or archives,
    ):
        if len(found) == 1 or (found and found[0].parent == folder and found[0].name == name):
            return found[0]
        if found:
            raise ValueError(f"expected one model in {folder}, got {', '.join(map(str, found))}")
    if (folder / name).is_symlink():
        raise ValueError(f"{folder / name} is a link to nothing")
    raise ValueError(f"expected {name} or {TAR_FILE} in {folder}, found neither")


def _is_named(member: str, name: str) -> bool:
    parts = PurePosixPath(os.path.normpath(member)).parts
    return parts[-1:] == (name,) and len(parts) <= 2 and ".." not in parts


def _no_pointer(path: Path, data: bytes) -> bytes:
    if data.startswith(_LFS_POINTER):
        raise ValueError(f"{path} is a git-LFS pointer: fetch the file with git lfs pull")
    return data
