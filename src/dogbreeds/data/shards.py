"""Tar shards: many photos a file, for object storage where each file costs a request.

A split as shards is a folder with ``train-000000.tar``, ... by webdataset's convention
(https://github.com/webdataset/webdataset#the-webdataset-format): members that share a name up to
the first dot are one sample, here ``069.French_bulldog/Name_04761.jpg`` and, in ``.cls``, the index
of its class as text. ``index.jsonl`` beside the shards names each photo's shard, place and size, so
that a job lists a million photos by reading one file. Shards of others have no such index; then
their tar headers are read.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dogbreeds.data.photo import PHOTO_SUFFIXES, PhotosError, ShardPhoto

INDEX = "index.jsonl"


def is_sharded(folder: Path) -> bool:
    """Tell whether a split's folder holds shards."""
    return next(folder.glob("*.tar"), None) is not None


def list_shards(folder: Path) -> list[ShardPhoto]:
    """List the photos of a split's shards, in the order in which they lie there.

    Args:
        folder: Of the split.

    Raises:
        PhotosError: The index or a shard is broken, or they do not belong together.
        OSError: They cannot be read.
    """
    shards = sorted(folder.glob("*.tar"))
    index = folder / INDEX
    return _read_index(index, shards) if index.is_file() else list(_scan(shards))


def _read_index(index: Path, shards: list[Path]) -> list[ShardPhoto]:
    folder = index.parent
    hint = f"remove {index} to list the shards without it, or make them again"
    photos: list[ShardPhoto] = []
    paths: dict[str, Path] = {}
    try:
        with index.open(encoding="utf-8") as lines:
            sizes: dict[str, int] = json.loads(next(lines))["shards"]
            paths = {name: folder / name for name in sizes}
            for line in lines:
                shard, member, label, offset, size = json.loads(line)
                photos.append(ShardPhoto(paths[shard], member, label, offset, size))
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise PhotosError(f"{index} is no index of shards ({error!r}): {hint}") from error
    found = {path.name: path.stat().st_size for path in shards}
    if sizes != found:
        wrong = sorted(name for name in {*sizes, *found} if sizes.get(name) != found.get(name))
        raise PhotosError(
            f"{index} does not belong to the shards beside it: {wrong[0]} has"
            f" {found.get(wrong[0], 'no')} bytes, expected {sizes.get(wrong[0], 'none')}: {hint}"
        )
    return photos


def _scan(shards: list[Path]) -> Iterator[ShardPhoto]:
    for shard in shards:
        photos: list[tarfile.TarInfo] = []
        classes: dict[str, str] = {}
        try:
            with tarfile.open(shard, "r:") as tar:
                for member in tar:
                    if not member.isreg():
                        continue
                    if member.name.endswith(".cls") and member.size <= 64:
                        stream = tar.extractfile(member)
                        if stream is not None:
                            classes[_key(member.name)] = stream.read().decode().strip()
                    elif PurePosixPath(member.name).suffix.lower() in PHOTO_SUFFIXES:
                        photos.append(member)
        except (tarfile.TarError, UnicodeDecodeError) as error:
            raise PhotosError(f"{shard} is no tar shard, or it is broken: {error}") from error
        for member in photos:
            label = PurePosixPath(member.name).parent.name or classes.get(_key(member.name), "")
            if not label:
                raise PhotosError(
                    f"{shard}: {member.name} has no class: expected CLASS/NAME.jpg, or NAME.cls"
                    " beside NAME.jpg"
                )
            yield ShardPhoto(shard, member.name, label, member.offset_data, member.size)


def _key(name: str) -> str:
    """Return what the files of a sample share: all up to the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"
