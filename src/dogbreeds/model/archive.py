"""Read one file of a model artifact in any form: folder, tar or zip."""

import os
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

TAR_FILE = "model.tar.gz"
_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
_LFS_POINTER = b"version https://git-lfs"


def read_file(source: Path, name: str) -> bytes:
    """Return the bytes of a file; nothing is extracted to disk.

    The source is a folder that contains the file or an archive of it, or that archive: a tar,
    compressed or not, or a zip. It may have the file in one folder; links inside it are followed.

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
        data = _read_zip(source, name) if zipfile.is_zipfile(source) else _read_tar(source, name)
    except KeyError as error:
        raise ValueError(f"{name} in {source} is a link to nothing: {error}") from error
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RecursionError) as error:
        raise ValueError(f"cannot read the model archive {source}: {error}") from error
    if data is None:
        raise ValueError(f"expected {name} in {source}: not an artifact of this project")
    return _no_pointer(source, data)


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


def _read_tar(source: Path, name: str) -> bytes | None:
    with tarfile.open(source, "r:*") as archive:
        for member in archive:
            readable = member.isfile() or member.islnk() or member.issym()
            if readable and _is_named(member.name, name):
                stream = archive.extractfile(member)
                return stream.read() if stream else None
    return None


def _read_zip(source: Path, name: str) -> bytes | None:
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            if _is_named(member.filename, name) and not member.is_dir():
                return archive.read(member)
    return None


def _no_pointer(path: Path, data: bytes) -> bytes:
    if data.startswith(_LFS_POINTER):
        raise ValueError(f"{path} is a git-LFS pointer: fetch the file with git lfs pull")
    return data
