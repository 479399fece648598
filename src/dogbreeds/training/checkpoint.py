"""Checkpoints: all that a job needs to go on as if it had never been interrupted.

Random numbers are a function of the seed and the step (see `loop`), so no generator has to be
saved, and a resumed job on the same CPU ends with the same bits as an uninterrupted one.
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
    """A checkpoint is there but belongs to another job; the message says what differs."""


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write a checkpoint and remove all but the newest two.

    Args:
        folder: The checkpoint directory; made if missing.
        step: Steps done.
        state: Tensors, numbers, strings and containers of them.

    Raises:
        OSError: It cannot be written. Earlier checkpoints stay as they are.
    """
    try:
        whole = atomic_write(folder / f"checkpoint-{step:09d}.pt")
        with whole as partial, partial.open("wb") as stream:
            torch.save(state, stream)  # to a stream, whose errors tell more than torch's own file's
    except (OSError, RuntimeError) as error:
        # On a full disk torch complains of a wrong position; the true error is the one before.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise OSError(
            cause.errno, f"cannot write a checkpoint to {folder}: {cause.strerror}"
        ) from error
    for old in sorted(folder.glob(_PATTERN))[:-_KEPT]:
        old.unlink()


def load_checkpoint(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Read the newest readable checkpoint.

    Args:
        folder: The checkpoint directory; may be missing.
        identity: What makes a job the same job; compared with the ``"identity"`` saved.

    Returns:
        The state saved, or None if there is no checkpoint.

    Raises:
        CheckpointError: The checkpoint was made by a job with another identity.
    """
    remove_partial(folder)  # left by a job killed while writing
    for path in sorted(folder.glob(_PATTERN), reverse=True):
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
            print(f"Checkpoint {path.name} cannot be read ({error}); trying the one before it")
            continue
        for key, value in identity.items():
            if state["identity"].get(key) != value:
                raise CheckpointError(
                    f"checkpoint {path} was made with {key} = {state['identity'].get(key)!r}, this"
                    f" job has {value!r}: use the same settings or another checkpoint folder"
                )
        return state
    return None
