"""Unpack untrusted archives: nothing outside the folder, no links, no bombs."""

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from dogbreeds.data.listing import is_junk
from dogbreeds.data.photo import PhotosError
from dogbreeds.data.workers import OnStart, chunks, in_processes

# zipfile raises these for broken archives, and the last for unknown compression methods.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError)
_MAX_FILES = 5_000_000
_MAX_GROWTH = 50  # photos are compressed already; more than this is a bomb
_HARMLESS = 100 * 2**20  # bytes that any archive may unpack to
_RESERVE = 2**28  # bytes to leave free on the disk
_MAX_NAME = 255  # bytes, on nearly all file systems


class ArchiveError(PhotosError):
    """The archive is broken or unsafe; the message says why."""


def extract(archive: Path, folder: Path, workers: int, on_start: OnStart) -> None:
    """Unpack a zip, tar or compressed tar archive to an empty folder.

    A zip archive is unpacked by several processes; a tar archive can only be read in order, by one.
    `on_start` is told the number of files; 0 if unknown. On failure, the caller empties the folder.

    Raises:
        ArchiveError: It is no archive, broken, encrypted, contains links or names that lead out of
            the folder, or unpacks to far more than photos would.
        OSError: It cannot be read or unpacked, e.g. because the disk is full.
    """
    if zipfile.is_zipfile(archive):
        _extract_zip(archive, folder, workers, on_start)
    elif tarfile.is_tarfile(archive):
        _extract_tar(archive, folder, on_start(0))
    else:
        with archive.open("rb") as stream:
            start = stream.read(12)
        raise ArchiveError(
            f"expected a zip or tar archive, got a file of {archive.stat().st_size} bytes that"
            f" starts with {start!r}"
        )


class _Limits:
    """Track the files of an archive and raise where they cannot be photos."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self._packed = archive.stat().st_size
        self._most = max(_HARMLESS, _MAX_GROWTH * self._packed)
        self._free = shutil.disk_usage(folder).free - _RESERVE
        self._size = self._files = 0
        self._names: set[str] = set()

    def add(self, size: int) -> None:
        self._size += size
        self._files += 1
        if self._size > self._most or self._files > _MAX_FILES:
            raise ArchiveError(
                f"expected photos, got an archive of {self._packed:,} bytes that unpacks to more"
                f" than {self._size:,} bytes in {self._files:,} files: it is made to fill disks"
            )
        if self._size > self._free:
            raise OSError(
                f"the disk is too small: at least {self._size:,} bytes are to be unpacked,"
                f" {max(self._free, 0):,} are free"
            )

    def take(self, name: str) -> None:
        if name in self._names:
            raise ArchiveError(f"expected each name once, got {name!r} twice")
        self._names.add(name)


def _safe_name(name: str) -> str | None:
    """Return a member's path, cleaned; None for junk.

    Raises:
        ArchiveError: It leads out of the folder or cannot be a file's name.
    """
    parts = name.replace("\\", "/").split("/")  # Windows' separator, whoever wrote it
    if parts[0] == "" or ":" in parts[0] or ".." in parts:
        raise ArchiveError(f"expected names inside the archive's folder, got {name!r}")
    parts = [part for part in parts if part not in ("", ".")]
    if any(is_junk(part) for part in parts):
        return None
    if not parts or any(len(os.fsencode(part)) > _MAX_NAME for part in parts):
        raise ArchiveError(f"expected names of 1 to {_MAX_NAME} bytes, got {name[:300]!r}")
    return "/".join(parts)


class _Member(NamedTuple):
    position: int  # in the archive's directory
    target: Path


def _extract_zip(archive: Path, folder: Path, workers: int, on_start: OnStart) -> None:
    limits = _Limits(archive, folder)
    members: list[_Member] = []
    try:
        with zipfile.ZipFile(archive) as file:
            infos = file.infolist()
    except _ZIP_ERRORS as error:
        raise ArchiveError(f"broken zip archive: {error}") from error
    for position, info in enumerate(infos):
        if info.is_dir():
            _safe_name(info.filename)
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise ArchiveError(f"expected files and folders only, got a link {info.filename!r}")
        if info.flag_bits & 1:
            raise ArchiveError("expected a zip archive without a password")
        limits.add(info.file_size)
        name = _safe_name(_readable(info))
        if name is not None:
            limits.take(name)
            members.append(_Member(position, folder / name))
    for parent in {member.target.parent for member in members}:
        parent.mkdir(parents=True, exist_ok=True)
    job = (archive, members)
    on_progress = on_start(len(members))
    with closing(in_processes(_extract_chunk, job, chunks(len(members), 32), workers)) as results:
        for done in results:
            on_progress(done)


def _readable(info: zipfile.ZipInfo) -> str:
    """Return a member's name; macOS writes UTF-8 without the flag."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


@lru_cache(maxsize=1)
def _opened(archive: Path) -> tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]:
    """Open the archive once per worker: each needs a file position of its own."""
    file = zipfile.ZipFile(archive)
    return file, file.infolist()


def _extract_chunk(job: tuple[Path, list[_Member]], chunk: range) -> int:
    archive, members = job
    file, infos = _opened(archive)
    for member in members[chunk.start : chunk.stop]:
        info = infos[member.position]
        try:
            # zipfile stops at the size in the directory, and checks the CRC.
            with file.open(info) as source, member.target.open("xb") as target:
                shutil.copyfileobj(source, target, 2**20)
        except _ZIP_ERRORS as error:
            raise ArchiveError(f"broken zip archive: {info.filename!r}: {error}") from None
    return len(chunk)


def _extract_tar(archive: Path, folder: Path, on_progress: Callable[[int], object]) -> None:
    limits = _Limits(archive, folder)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = _safe_name(member.name)
                if member.isdir():
                    continue
                if not member.isreg():
                    got = f"a link or device {member.name!r}"
                    raise ArchiveError(f"expected files and folders only, got {got}")
                limits.add(member.size)
                source = tar.extractfile(member)
                if name is None or source is None:
                    continue
                limits.take(name)
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with source, target.open("xb") as out:
                    shutil.copyfileobj(source, out, 2**20)
                on_progress(1)
    except (tarfile.TarError, zlib.error, EOFError, UnicodeError) as error:
        raise ArchiveError(f"broken tar archive: {error}") from error
