"""``python -m dogbreeds.serving.server``: starts the model server, supervises it and stops it.

It can be a container's process 1. On SIGTERM or Ctrl-C ``/ping`` turns 503, requests in flight are
answered, all processes end and the exit code is 0. If the model cannot be loaded, or the front end
ends by itself, it stops the rest with exit code 1 and one line that says why.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from dogbreeds.serving import mms
from dogbreeds.serving.settings import Settings
from dogbreeds.serving.user_code import script
from dogbreeds.serving.worker import FAILURE_FILE_ENV
from dogbreeds.system import processes
from dogbreeds.system.errors import DogbreedsError

# SageMaker kills 30 s after SIGTERM; the front end itself waits for 20 s.
_STOP_SECONDS = 24
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_OTHER_SERVERS = ("TS_", "SAGEMAKER_TS_", "MMS_")  # prefixes of their settings


def main() -> int:
    """Serve until SIGTERM or SIGINT and return 0, or 1 after a failure."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for number in _STOP_SIGNALS:  # process 1 has no default handlers
        signal.signal(number, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="serve-") as folder:
            script.fetch(os.environ, Path(folder))
            settings = Settings(os.environ)
            if ignored := ", ".join(sorted(n for n in os.environ if n.startswith(_OTHER_SERVERS))):
                logging.warning("without effect here: %s; docs/serving.md has ours", ignored)
            readable = os.access(settings.model_dir, os.R_OK | os.X_OK)
            if not (readable or settings.multi_model or settings.user_code):
                raise mms.ServerError(
                    f"expected a model artifact in the folder {settings.model_dir}, which"
                    f" {'cannot be read' if settings.model_dir.exists() else 'does not exist'}"
                )
            _serve(settings, Path(folder))
    except KeyboardInterrupt:
        return 0
    except (DogbreedsError, OSError) as error:
        print(f"serve: error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _serve(settings: Settings, folder: Path) -> None:
    """Serve until a signal comes; ServerError for any other end, or if stopping takes too long."""
    packages = script.install(settings.user_code, folder) if settings.user_code else None
    mms.write_files(settings, folder)
    failure = folder / "failure"
    processes.adopt_orphans()
    server = subprocess.Popen(
        mms.command(settings, folder),
        env=mms.environment(settings, folder, packages) | {FAILURE_FILE_ENV: str(failure)},
        start_new_session=True,  # Ctrl-C then reaches only us, and one kill all of the rest
        preexec_fn=processes.die_with_parent,  # safe: this process has one thread
    )
    try:
        _reap(server)
    except KeyboardInterrupt:
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, _give_up)
        signal.alarm(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGTERM)
        _reap(server)
        signal.alarm(0)
        return
    finally:
        _kill_all(server)
    if not failure.exists():
        raise mms.ServerError(f"the Java front end ended by itself, exit code {server.returncode}")
    reason, *traceback = failure.read_text(errors="replace").splitlines()
    print(*traceback, sep="\n", file=sys.stderr)
    raise mms.ServerError(reason)


def _give_up(*_: object) -> None:
    raise mms.ServerError(f"the server did not stop within {_STOP_SECONDS} s")


def _reap(server: "subprocess.Popen[bytes]") -> None:
    """Reap ended children and adopted orphans until the server itself has ended."""
    with contextlib.suppress(ChildProcessError):
        while server.returncode is None:
            pid, status = os.waitpid(-1, 0)
            if pid == server.pid:
                server.returncode = os.waitstatus_to_exitcode(status)


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
