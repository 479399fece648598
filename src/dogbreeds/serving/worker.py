"""What MMS's workers run. One that cannot load its model ends the server: MMS restarts forever."""

import contextlib
import faulthandler
import os
import signal
import socket
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dogbreeds.system import files, processes
from dogbreeds.system.errors import DogbreedsError

FAILURE_FILE_ENV = "DOGBREEDS_FAILURE_FILE"
"""Set by `server`, which reads from this file why its workers gave up: in the first line."""

_LOADS_PER_WORKER = 3
_LOADED = "loaded"

_service: Any = None  # `handler.Service`, or `user_code.service.UserService`


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[bytes] | None:  # noqa: ANN401
    """Answer a batch of requests, of each its body and query parameters; None: load the model.

    The bodies of the answers are returned; MMS's context has the headers, and takes the rest.
    """
    global _service
    if data is None:
        processes.die_with_parent()
        with contextlib.suppress(OSError):  # where memory runs out, not the front end is killed
            Path("/proc/self/oom_score_adj").write_text("500")
        with ending_the_server():  # also by what fails on import
            from dogbreeds.serving import handler
        _service = handler.load(context)
        return None
    if _service is None:
        raise RuntimeError("MMS requested a prediction before the model was loaded")
    # A call that hangs, even in C code, leaves its traceback in the log.
    if timeout := _service.settings.worker_timeout:
        faulthandler.dump_traceback_later(timeout, exit=True)
    try:
        return list(_service.answer(data, context))
    finally:
        faulthandler.cancel_dump_traceback_later()


def receive(connection: socket.socket, length: int) -> bytes:
    """Read from MMS in the place of its own function, which copies a large photo a dozen times."""
    data = b""
    while len(data) < length:  # a signal may have interrupted it
        if not (part := connection.recv(length - len(data), socket.MSG_WAITALL)):
            raise ValueError("the front end has closed the connection")
        data += part
    return data


@contextlib.contextmanager
def counting_loads(workers: int, *, ready: bool) -> Iterator[None]:
    """End the server if this block, which loads the model, has ended its process each time.

    Code that exits or crashes, and too little memory, leave no exception: loads of all `workers`
    are counted until one succeeds and is `ready` to answer. Outside of a server nothing happens.
    """
    path = os.environ.get(FAILURE_FILE_ENV, "")
    with Path(f"{path}-loads" if path else os.devnull).open("a+") as loads, ending_the_server():
        loads.seek(0)
        found = loads.read()
        loads.write(".")
        loads.flush()
        if _LOADED not in found and len(found) >= workers * _LOADS_PER_WORKER:
            raise DogbreedsError(
                f"{len(found)} loads ended their process without an exception: by code that exits"
                " or crashes, or because memory ran out; see the log"
            )
        yield
        if ready:
            loads.write(_LOADED)


@contextlib.contextmanager
def ending_the_server() -> Iterator[None]:
    """End the server, and this process, if the block raises; outside of a server just raise."""
    try:
        yield
    except Exception as error:
        if path := os.environ.get(FAILURE_FILE_ENV):
            cause = error.__cause__ if isinstance(error, DogbreedsError) else error
            lines = [f"cannot load the model: {' '.join(str(error).split())}\n"]
            lines += traceback.format_exception(cause) if cause else []
            with contextlib.suppress(OSError), files.atomic_write(Path(path)) as partial:
                partial.write_text("".join(lines), errors="replace")  # others may kill this one
            os.killpg(os.getpgrp(), signal.SIGKILL)
        raise
