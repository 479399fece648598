"""Tar shards: many photos per file, for object storage where each file costs a request.

A split as shards is a folder with ``train-000000.tar``, ... by webdataset's convention
(https://github.com/webdataset/webdataset#the-webdataset-format): members that share a name up to
the first dot are one sample, here ``069.French_bulldog/Name_04761.jpg`` and, in ``.cls``, the index
of its class as text. ``index.jsonl`` gives the shard, offset and size of each photo, so that a job
lists a million by reading one file. Without it, as in shards of others, tar headers are read.
"""

import io
import json
import random
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from dogbreeds.data.photo import Photo, PhotosError, ShardPhoto
from dogbreeds.model.photo_formats import is_photo_name

INDEX = "index.jsonl"


def is_sharded(folder: Path) -> bool:
    """Tell whether a split's folder contains shards."""
    return next(folder.glob("*.tar"), None) is not None


def list_shards(folder: Path) -> list[ShardPhoto]:
    """List a split's photos in stored order; PhotosError if a shard or the index is broken."""
    shards, index = sorted(folder.glob("*.tar")), folder / INDEX
    return _read_index(index, shards) if index.is_file() else list(_scan(shards))


def _read_index(index: Path, shards: list[Path]) -> list[ShardPhoto]:
    hint = f"remove {index} to list the shards without it, or make them again"
    paths = {path.name: path for path in shards}
    photos: list[ShardPhoto] = []
    sizes: dict[str, int] = {}
    try:
        with index.open(encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                if isinstance(entry, dict):  # the last line
                    sizes = entry["shards"]
                else:
                    shard, member, label, offset, size = entry
                    photos.append(ShardPhoto(paths[shard], member, label, offset, size))
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{index} is no index of the shards beside it ({error!r}): {hint}"
        raise PhotosError(reason) from error
    found = {path.name: path.stat().st_size for path in shards}
    if sizes != found:
        wrong = min(name for name in {*sizes, *found} if sizes.get(name) != found.get(name))
        raise PhotosError(
            f"{index} does not belong to the shards beside it: expected {sizes.get(wrong, 'no')}"
            f" bytes in {wrong}, got {found.get(wrong, 'none')}: {hint}"
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
                        if stream := tar.extractfile(member):
                            classes[_key(member.name)] = stream.read().decode().strip()
                    elif is_photo_name(PurePosixPath(member.name).name):
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
    """Return the key of a sample: the path up to the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def write_shards(
    folder: Path,
    prefix: str,
    photos: Sequence[Photo],
    labels: Sequence[str],
    classes: Sequence[str],
    shard_bytes: int,
    on_progress: Callable[[int], object],
) -> None:
    """Write the photos of a split to an empty folder, as shards with an index.

    They are shuffled with a fixed seed, so that streaming jobs do not see one breed at a time. The
    shards' names begin with `prefix`; a shard ends once it has `shard_bytes`. The position of a
    photo's label in `classes` is written as ``.cls``. `on_progress` is called with 1 per photo.
    OSError if a photo cannot be read or a shard not be written.
    """
    order = list(range(len(photos)))
    random.Random(0).shuffle(order)  # noqa: S311
    numbers = {label: str(number).encode() for number, label in enumerate(classes)}
    taken: set[str] = set()
    sizes: dict[str, int] = {}
    with (folder / INDEX).open("w", encoding="utf-8") as index:
        while order:
            shard = folder / f"{prefix}-{len(sizes):06d}.tar"
            with tarfile.open(shard, "w") as tar:
                while order and tar.offset < shard_bytes:
                    position = order.pop()
                    name, label = PurePosixPath(str(photos[position])), labels[position]
                    # A dot would end a sample's key.
                    key = plain = f"{label}/{name.stem.replace('.', '_')}"
                    number = 1
                    while key in taken:
                        number += 1
                        key = f"{plain}_{number}"
                    taken.add(key)
                    data, member = photos[position].read_bytes(), f"{key}{name.suffix.lower()}"
                    offset = _append(tar, member, data)
                    _append(tar, f"{key}.cls", numbers[label])
                    index.write(json.dumps([shard.name, member, label, offset, len(data)]) + "\n")
                    on_progress(1)
            sizes[shard.name] = shard.stat().st_size
        index.write(json.dumps({"shards": sizes}) + "\n")


def _append(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a file and return the offset of its bytes."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    tar.addfile(header, io.BytesIO(data))
    blocks = -(-len(data) // tarfile.BLOCKSIZE)
    return tar.offset - blocks * tarfile.BLOCKSIZE
