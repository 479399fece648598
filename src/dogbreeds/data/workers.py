"""Process many photos in parallel, in workers that inherit the parent's memory."""

import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

Job = TypeVar("Job")
Item = TypeVar("Item")
Result = TypeVar("Result")

OnStart = Callable[[int], Callable[[int], object]]
"""Called with the total; what it returns is called with the number done since the last call."""

_CHUNK = 16  # photos per task: small enough for a smooth progress bar


def chunks(count: int, size: int = _CHUNK) -> list[range]:
    """Return the positions 0 to `count` in ranges of `size` for the workers."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def in_processes(
    task: Callable[[Job, Item], Result], job: Job, items: Iterable[Item], workers: int
) -> Generator[Result]:
    """Yield ``task(job, item)`` for each item, in order; the task is a module-level function.

    Workers inherit the job by fork, so large lists cost nothing and a shared mapping stays shared;
    items are pickled, so keep them small. Close the generator (`contextlib.closing`) to end the
    workers before the last item.

    Raises:
        OSError: A worker was killed.
    """
    # fork, because the workers must share the job; they run Pillow and NumPy only.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, context, _set_job, (task, job)) as pool:
        try:
            yield from pool.map(_run, items)
        except BrokenProcessPool as error:
            raise OSError(
                "a worker process was killed, most likely because memory ran out: choose fewer"
                " workers or a machine with more memory"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)  # stop without running the rest first


_task: Callable[[Any, Any], Any]
_job: Any


def _set_job(task: Callable[[Any, Any], Any], job: Any) -> None:  # noqa: ANN401
    global _task, _job  # the worker's one piece of state
    _task, _job = task, job
    # Reset the inherited handlers. On Ctrl-C the parent ends the workers.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(item: Any) -> Any:  # noqa: ANN401
    return _task(_job, item)
