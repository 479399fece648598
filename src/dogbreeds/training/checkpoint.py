"""Checkpoints: all that a job on the same CPU needs to end bit for bit as if not interrupted.

Random numbers depend on the seed and the step alone (see `loop`), so no generator is saved.
"""

import pickle
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
    """Write tensors, numbers, strings and containers of them; then keep only the newest two."""
    file = folder / f"checkpoint-{step:09d}.pt"
    try:
        with atomic_write(file) as partial, partial.open("wb") as stream:
            torch.save(state, stream)  # errors of a stream tell more than those of torch's own file
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
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
            print(f"Checkpoint {path.name} cannot be read ({error}); trying the one before it")
            continue
        for key, value in identity.items():
            if (saved := state["identity"].get(key)) != value:
                raise CheckpointError(
                    f"checkpoint {path} was made with {key} = {saved!r}, this job has {value!r}:"
                    " use the same settings or another checkpoint folder"
                )
        return state
    return None
