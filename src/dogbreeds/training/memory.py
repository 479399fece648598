"""The GPU's memory: what is kept there, and what a job advises where it runs out."""

import contextlib
from collections.abc import Callable

import torch

from dogbreeds.training.settings import SettingsError


def fits_on_gpu(size: int, free: int) -> bool:
    """Whether pixels fit, given bytes: the model and its activations need the other two thirds."""
    return size < free // 3


def runs_out(run: Callable[[], object]) -> bool:
    """Whether a call runs out of the GPU's memory; if so, all that it allocated is freed."""
    with contextlib.suppress(torch.OutOfMemoryError):  # its traceback holds the call's tensors
        run()
        return False
    torch.cuda.empty_cache()
    return True


def passes_that_fit(run: Callable[[int], object], photos: int, passes: int) -> int:
    """Double the passes of a step of `photos` until `run`, of those of a pass, fits; 0: never."""
    while passes < photos:
        passes = min(2 * passes, photos)
        if not runs_out(lambda size=-(-photos // passes): run(size)):  # type: ignore[misc]
            return passes
    return 0


def does_not_fit(run: Callable[[int], object] | None, photos: int, passes: int) -> SettingsError:
    """Return the error of a step that does not fit, with passes that do, or may without `run`."""
    fitting = passes_that_fit(run, photos, passes) if run else 2 * passes
    advice = f"use gradient_accumulation_steps={fitting} or a smaller batch_size"
    return SettingsError(
        f"the GPU's memory is too small for {photos} photos in {passes} passes:"
        f" {advice if fitting else 'choose a smaller model or image_size'}"
    )
