"""A photo that is not read yet: a file, or part of a tar shard."""

import functools
import io
import os
from dataclasses import dataclass
from pathlib import Path

from dogbreeds.system.errors import DogbreedsError


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
        data = os.pread(_open(self.shard).fileno(), self.size, self.offset)
        if len(data) < self.size:
            raise OSError(f"shard {self.shard} ends too early: it was cut or changed")
        return data


@functools.lru_cache(maxsize=1)  # read in order; on object storage each opening is a request
def _open(shard: Path) -> io.FileIO:
    return io.FileIO(shard)


Photo = Path | ShardPhoto
"""An encoded photo with a name: a file, or a part of a shard."""
