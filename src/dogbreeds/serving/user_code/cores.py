"""Shares the processors among the workers that are busy: one that is alone computes with all."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

FILE_ENV = "DOGBREEDS_CORES_FILE"
"""Set by `mms` where the user set no number of threads: a file whose bytes busy workers lock."""


def sharing(workers: int, cpus: int) -> Callable[[], AbstractContextManager[None]]:
    """Return the context in which a worker that has loaded its script answers requests.

    In it PyTorch has as many threads as `cpus`, divided by the busy ones of the `workers`. Outside
    of a server, and where script or user chose the number of threads, it has no effect.
    """
    file, torch = os.environ.get(FILE_ENV), sys.modules.get("torch")
    if not file or not torch or torch.get_num_threads() != max(1, cpus // workers):
        return contextlib.nullcontext
    stream = Path(file).open("wb")  # noqa: SIM115  (as long as the worker lives)

    def lock(place: int) -> bool:
        with contextlib.suppress(OSError):
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            return True
        return False

    @contextlib.contextmanager
    def share() -> Iterator[None]:
        free = [place for place in range(workers) if lock(place)]
        for place in free[1:]:
            fcntl.lockf(stream, fcntl.LOCK_UN, 1, place)
        torch.set_num_threads(max(1, cpus // (workers - len(free) + 1)))
        try:
            yield
        finally:  # the kernel does it for a worker that dies
            fcntl.lockf(stream, fcntl.LOCK_UN)

    return share
