"""Process many photos in parallel, in workers that inherit the parent's memory."""

import multiprocessing
import signal
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from dogbreeds.system.processes import die_with_parent

Result = TypeVar("Result")

_CHUNK = 16  # photos per task: small enough for a smooth progress bar


def in_processes(
    task: Callable[[range], Result], count: int, workers: int
) -> Generator[tuple[range, Result]]:
    """Yield consecutive ranges of the positions 0 to `count`, each with the task's result for it.

    A single worker is this process itself. Several inherit the task by fork, and with it all that a
    closure refers to: large lists cost nothing and a shared mapping stays shared. Close the
    generator (`contextlib.closing`) to end them before the last range. OSError if one was killed.
    """
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    if workers == 1:
        yield from ((chunk, task(chunk)) for chunk in chunks)
        return
    # fork, because the workers must share the task; they run Pillow and NumPy only.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, context, _set_task, (task,)) as pool:
        try:
            yield from zip(chunks, pool.map(_run, chunks), strict=True)
        except BrokenProcessPool as error:
            raise OSError(
                "a worker process was killed, most likely because memory ran out: choose fewer"
                " workers or a machine with more memory"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)  # stop without running the rest first


_task: Callable[[range], Any]


def _set_task(task: Callable[[range], Any]) -> None:
    global _task  # the worker's one piece of state
    _task = task
    die_with_parent()
    # Reset the inherited handlers. On Ctrl-C the parent ends the workers.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(chunk: range) -> Any:  # noqa: ANN401
    return _task(chunk)
