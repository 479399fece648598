"""``serve``: starts the model server, supervises it and stops it.

The image's ``serve`` and the demo run ``python -m dogbreeds.serving.server``. It can be a
container's process 1.

On SIGTERM or Ctrl-C ``/ping`` turns 503, requests in flight are answered, all processes end and the
exit code is 0. If the model cannot be loaded, or the front end ends by itself, it stops the rest
with exit code 1 and one line that says why.
"""

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dogbreeds.serving import mms
from dogbreeds.serving.settings import FAILURE_PIPE_ENV, Settings, SettingsError
from dogbreeds.serving.user_code import requirements, script
from dogbreeds.system import processes

# SageMaker kills 30 s after SIGTERM; the front end itself waits for 20 s.
_STOP_TIMEOUT = 24.0


def main() -> int:
    """Serve until a signal comes.

    Returns:
        0 after SIGTERM or SIGINT, 1 after a failure.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        with tempfile.TemporaryDirectory(prefix="dogbreeds-serve-") as folder:
            script.fetch(os.environ, Path(folder))
            settings = Settings.from_environment(os.environ)
            readable = os.access(settings.model_dir, os.R_OK | os.X_OK)
            if not (readable or settings.multi_model or settings.user_code):
                raise mms.ServerError(
                    f"expected a model artifact in the folder {settings.model_dir}, which"
                    f" {'cannot be read' if settings.model_dir.exists() else 'does not exist'}"
                )
            _serve(settings, Path(folder))
    except (SettingsError, script.ScriptError, mms.ServerError, OSError) as error:
        print(f"serve: error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _serve(settings: Settings, folder: Path) -> None:
    packages = requirements.install(settings.user_code, folder) if settings.user_code else None
    mms.write_files(settings, folder)
    command = mms.command(settings, folder)
    failures_path = folder / "failure"
    os.mkfifo(failures_path)
    # Open read-write so that the FIFO never signals EOF when it has no writer.
    failures = os.open(failures_path, os.O_RDWR | os.O_NONBLOCK)
    environment = mms.environment(settings, folder, packages)
    processes.adopt_orphans()
    with _signals() as signals:
        server = subprocess.Popen(
            command,
            env=environment | {FAILURE_PIPE_ENV: str(failures_path)},
            start_new_session=True,  # Ctrl-C then reaches only us, and one kill all of the rest
            preexec_fn=processes.die_with_parent,  # safe: this process has one thread
        )
        try:
            _watch(server, signals, failures)
        finally:
            _kill_all(server)
            os.close(failures)


def _watch(server: "subprocess.Popen[bytes]", signals: int, failures: int) -> None:
    """Wait for a signal, for a worker that gives up and for the end of the server.

    Raises:
        ServerError: The server ended without a signal, or not in time.
    """
    deadline: float | None = None
    while True:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([signals, failures], [], [], timeout)
        if not ready:
            raise mms.ServerError(f"the server did not stop within {_STOP_TIMEOUT:g} s")
        if failures in ready:
            reason = os.read(failures, 65536).decode(errors="replace").partition("\n")[0]
            if deadline is None:
                raise mms.ServerError(reason)
        if signals in ready:
            received = os.read(signals, 1024)
            if deadline is None and {signal.SIGTERM, signal.SIGINT} & set(received):
                deadline = time.monotonic() + _STOP_TIMEOUT
                server.terminate()
        status = _reap(server.pid)
        if status is not None:
            server.returncode = status
            if deadline is not None:
                return
            raise mms.ServerError(f"the Java front end ended by itself with exit code {status}")


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Yield a descriptor from which the numbers of arriving signals can be read."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)  # set_wakeup_fd requires it
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    # Only signals with a handler are written; process 1 has no default handlers either.
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    signal.set_wakeup_fd(write_end)
    try:
        yield read_end
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        os.close(read_end)
        os.close(write_end)


def _reap(pid: int) -> int | None:
    """Reap ended children and adopted orphans; return the exit code of `pid`, if it ended."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == pid:
                status = os.waitstatus_to_exitcode(ended[1])
    return status


def _kill_all(server: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of the server and its workers, and wait until they are gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-server.pid, 0)
    server.returncode = server.returncode or 0  # we have waited for it in place of Popen


if __name__ == "__main__":
    sys.exit(main())
