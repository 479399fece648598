"""Checkpoints: everything that a job needs to resume as if it had never been interrupted.

Random numbers depend on the seed and the step alone (see `loop`), so no generator is saved, and a
resumed job on the same CPU ends bit for bit like an uninterrupted one.

A file is that of `torch.save` and its SHA-256: PyTorch itself reads changed bytes as weights.
"""

import hashlib
import mmap
from pathlib import Path
from typing import Any

import torch

from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.files import atomic_write, remove_partial

_PATTERN = "checkpoint-*.pt"
_KEPT = 2


class CheckpointError(DogbreedsError, ValueError):
    """A checkpoint belongs to another job; the message says what differs."""


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings and containers of them; remove all but the newest two.

    OSError if the checkpoint cannot be written; then earlier ones are kept.
    """
    file = folder / f"checkpoint-{step:09d}.pt"
    try:
        with atomic_write(file) as partial, partial.open("w+b") as stream:
            torch.save(state, stream)  # errors of a stream tell more than those of torch's own file
            stream.seek(0)
            stream.write(hashlib.file_digest(stream, "sha256").digest())
    except (OSError, RuntimeError) as error:
        # On a full disk torch complains about a position; the true error is the one before.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        message = f"cannot write a checkpoint to {folder}: {cause.strerror}"
        raise OSError(cause.errno, message) from error
    for old in sorted(folder.glob(_PATTERN))[:-_KEPT]:
        old.unlink()


def load_checkpoint(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Read the newest readable checkpoint, if any; CheckpointError if its identity is another."""
    remove_partial(folder)  # a job killed while writing leaves it
    for path in sorted(folder.glob(_PATTERN), reverse=True):
        if problem := _problem(path):
            print(f"Checkpoint {path.name} {problem}; trying the one before it")
            continue
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        for key, value in identity.items():
            if (saved := state["identity"].get(key)) != value:
                raise CheckpointError(
                    f"checkpoint {path} was made with {key} = {saved!r}, this job has {value!r}:"
                    " use the same settings or another checkpoint folder"
                )
        return state
    return None


def _problem(path: Path) -> str:
    """Return why a file is no checkpoint of `save_checkpoint`; empty if it is one."""
    size = hashlib.sha256().digest_size
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as data:
            with memoryview(data) as view, view[:-size] as saved:
                intact = hashlib.sha256(saved).digest() == data[-size:]
            return "" if intact else "is damaged or cut off"
    except (OSError, ValueError) as error:  # ValueError: it is empty
        return f"cannot be read ({error})"
