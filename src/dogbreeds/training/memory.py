"""The GPU's memory: what is kept there, and what a job advises where it runs out."""

from collections.abc import Callable

import torch


def fits_on_gpu(size: int, free: int) -> bool:
    """Whether pixels fit, given bytes: the model and its activations need the other two thirds."""
    return size < free // 3


def runs_out(run: Callable[[], object]) -> bool:
    """Whether a call runs out of the GPU's memory; if so, all that it allocated is freed."""
    try:
        run()
    except torch.OutOfMemoryError:
        pass  # the error's traceback holds the call's tensors until this block ends
    else:
        return False
    torch.cuda.empty_cache()
    return True


def passes_that_fit(run: Callable[[int], object], photos: int, passes: int) -> int:
    """Return the number of passes with which a step fits: doubled until it does; 0 if none.

    `run` runs a forward and backward pass of so many photos, of which the step has `photos`.
    """
    while passes < photos:
        passes = min(2 * passes, photos)
        if not runs_out(lambda size=-(-photos // passes): run(size)):  # type: ignore[misc]
            return passes
    return 0
