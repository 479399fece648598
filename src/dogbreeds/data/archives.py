"""Unpack untrusted archives: nothing outside the folder, no links, no bombs."""

import io
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from dogbreeds.data.listing import is_junk
from dogbreeds.model.archive import BROKEN, ArchiveError, Member, open_archive
from dogbreeds.system.terminal import progress_bar

_MAX_FILES = 5_000_000
_MAX_GROWTH = 50  # photos are compressed already; more than this is a bomb
_HARMLESS = 100 * 2**20  # bytes that any archive may unpack to
_RESERVE = 2**28  # bytes to leave free on the disk
_MAX_NAME = 255  # bytes, on nearly all file systems


def extract(archive: Path, folder: Path) -> None:
    """Unpack a zip, tar or compressed tar archive to an empty folder.

    On failure, the caller empties the folder. ArchiveError if it is no archive, broken, encrypted,
    contains links or names that lead out of the folder, or unpacks to far more than photos would;
    OSError if the disk is too small.
    """
    with open_archive(archive) as members:
        files: Iterable[tuple[Member, Path]] = _checked(archive, members, folder)
        if isinstance(members, list):  # else it can be read only once, in order
            files = list(files)
        with progress_bar("Unpack", len(files) if isinstance(files, list) else None) as bar:
            for member, target in files:
                _write(member, target)
                bar.update()


def _checked(
    archive: Path, members: Iterable[Member], folder: Path
) -> Iterator[tuple[Member, Path]]:
    """Yield the files of an archive and where they go; raise where they cannot be photos."""
    packed = archive.stat().st_size
    free = shutil.disk_usage(folder).free - _RESERVE
    names: set[str] = set()
    size = files = 0
    for member in members:
        name = _safe_name(member.name)
        if member.is_folder:
            continue
        if not member.is_file:
            raise ArchiveError(
                f"expected files and folders only, got a link or device {member.name!r}"
            )
        size, files = size + member.size, files + 1
        if size > max(_HARMLESS, _MAX_GROWTH * packed) or files > _MAX_FILES:
            raise ArchiveError(
                f"expected photos, got an archive of {packed:,} bytes that unpacks to more"
                f" than {size:,} bytes in {files:,} files: it is made to fill disks"
            )
        if size > free:
            raise OSError(
                f"the disk is too small: at least {size:,} bytes are to be unpacked,"
                f" {max(free, 0):,} are free"
            )
        if name in names:
            raise ArchiveError(f"expected each name once, got {name!r} twice")
        if name is not None:
            names.add(name)
            yield member, folder / name


def _safe_name(name: str) -> str | None:
    """Return a member's path, cleaned; None for junk. A name that leads outside raises."""
    parts = name.replace("\\", "/").split("/")  # Windows' separator, whoever wrote it
    if parts[0] == "" or ":" in parts[0] or ".." in parts:
        raise ArchiveError(f"expected names inside the archive's folder, got {name!r}")
    parts = [part for part in parts if part not in ("", ".")]
    if any(is_junk(part) for part in parts):
        return None
    if not parts or any(len(os.fsencode(part)) > _MAX_NAME for part in parts):
        raise ArchiveError(f"expected names of 1 to {_MAX_NAME} bytes, got {name[:300]!r}")
    return "/".join(parts)


def _write(member: Member, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # zipfile stops at the size in the directory, and checks the CRC.
        with member.open() or io.BytesIO() as source, target.open("xb") as out:
            shutil.copyfileobj(source, out, 2**20)
    except BROKEN as error:
        raise ArchiveError(f"broken archive: {member.name!r}: {error}") from error
