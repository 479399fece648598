"""A photo that is not read yet: a file, or part of a tar shard."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dogbreeds.system.errors import DogbreedsError

_GAP = 2**16  # bytes between photos of a shard that are cheaper to read than to skip


class PhotosError(DogbreedsError, ValueError):
    """The photos directory cannot be used; the message says what to change."""


@dataclass(frozen=True, slots=True)
class ShardPhoto:
    """A photo in a tar shard; it is read like a `Path`."""

    shard: Path
    member: str  # path in the shard, e.g. 069.French_bulldog/Name_04761.jpg
    label: str  # folder name of its class
    offset: int  # of its first byte in the shard
    size: int  # in bytes

    def __str__(self) -> str:
        return f"{self.shard}/{self.member}"

    @property
    def name(self) -> str:
        """The file name, as a path has it."""
        return self.member.rpartition("/")[2]

    def read_bytes(self) -> bytes:
        """Return the encoded photo; raises OSError where the shard is unreadable or too short."""
        [data] = read_photos([self])
        if isinstance(data, OSError):
            raise data
        return data


Photo = Path | ShardPhoto
"""An encoded photo with a name: a file, or a part of a shard."""


def read_photos(photos: Sequence[Photo]) -> Iterator[bytes | OSError]:
    """Yield the bytes of each photo, or the reason why it cannot be read.

    Neighbors in a shard are read at once, so pass photos in shard order and few enough for memory.
    """
    run: list[ShardPhoto] = []  # neighbors
    for photo in photos:
        if run and not (
            isinstance(photo, ShardPhoto)
            and photo.shard == run[-1].shard
            and 0 <= photo.offset - run[-1].offset - run[-1].size <= _GAP
        ):
            yield from _read_run(run)
            run = []
        if isinstance(photo, ShardPhoto):
            run.append(photo)
            continue
        try:
            yield photo.read_bytes()
        except OSError as error:
            yield error
    if run:
        yield from _read_run(run)


def _read_run(run: Sequence[ShardPhoto]) -> Iterator[bytes | OSError]:
    first, last = run[0], run[-1]
    try:
        with first.shard.open("rb", buffering=0) as stream:
            data = os.pread(stream.fileno(), last.offset + last.size - first.offset, first.offset)
    except OSError as error:
        yield from [error] * len(run)
        return
    for photo in run:
        begin = photo.offset - first.offset
        if begin + photo.size > len(data):
            yield OSError(f"shard {photo.shard} ends too early: it was cut or changed")
        else:
            yield data[begin : begin + photo.size]
