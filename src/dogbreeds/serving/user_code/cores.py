"""Shares the processors among workers: one that answers alone computes with all of them."""

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

FILE_ENV = "DOGBREEDS_CORES_FILE"
"""Set by `mms` where the user set no number of threads: a file whose bytes busy workers lock."""
_SECONDS = 1.0  # without two busy workers, after which one takes all processors


def sharing(workers: int, cpus: int) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Return the context in which a worker that has loaded its script answers requests.

    In it PyTorch has as many threads as `cpus` if no two of the `workers` were busy lately, else
    this worker's share. More threads than processors would wait for each other. Outside of a
    server, and where script or user chose the number of threads, it has no effect.
    """
    file, torch, fair = os.environ.get(FILE_ENV), sys.modules.get("torch"), max(1, cpus // workers)
    if not file or not torch or torch.get_num_threads() != fair:
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
        if len(free) < workers:
            os.utime(stream.fileno())
        alone = abs(time.time() - os.fstat(stream.fileno()).st_mtime) > _SECONDS
        torch.set_num_threads(cpus if alone else fair)
        try:
            yield
        finally:  # the kernel does it for a worker that dies
            fcntl.lockf(stream, fcntl.LOCK_UN)

    return share
