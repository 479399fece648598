"""Why a job failed: the failure file, which SageMaker displays, and a script's stderr."""

import os
import re
import sys
import threading
from pathlib import Path

_KEPT_BYTES = 64 * 1024
_TRACEBACK = "Traceback (most recent call last):"
_RANK = re.compile(r"^\[rank\d+\]: ?", re.MULTILINE)  # torch marks the lines of a process with it
_TORCHRUN = "ChildFailedError"  # torchrun raises it after the script's own error


def one_line(reason: str) -> str:
    """Return a reason as one line, cut to the 1024 characters that SageMaker displays."""
    return " ".join(reason.split())[:1024]


def fail(file: Path, reason: str) -> int:
    """Print the reason of a failure, write it to the job's ``output/failure``, and return 1."""
    line = one_line(reason)
    print(f"error: {line}", file=sys.stderr, flush=True)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # The first of several processes to fail knows the reason; the others only lost that one.
        with file.open("x" if os.environ.get("WORLD_SIZE", "1") != "1" else "w") as stream:
            stream.write(line)
    except FileExistsError:
        pass
    except OSError as error:
        print(f"error: cannot write {file}: {error}", file=sys.stderr, flush=True)
    return 1


class StderrTail:
    """Copies stderr of this process and its children while the context lasts.

    sagemaker-training can capture stderr, too, but breaks lines where its reads end, so that an
    error may reach the failure file in pieces.
    """

    def __enter__(self) -> "StderrTail":
        self._tail = b""
        self._stderr = os.dup(2)
        self._read_end, write_end = os.pipe()
        os.dup2(write_end, 2)
        os.close(write_end)
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        os.dup2(self._stderr, 2)
        # The pipe ends when its last writer does; a stray grandchild must not block us.
        self._thread.join(timeout=5)

    def _copy(self) -> None:
        while chunk := os.read(self._read_end, 65536):
            os.write(self._stderr, chunk)
            self._tail = (self._tail + chunk)[-_KEPT_BYTES:]

    def reason(self) -> str:
        """Return a Python script's last error: its line, then the traceback; else the last line."""
        text = _RANK.sub("", self._tail.decode(errors="replace")).strip()
        for traceback in reversed(text.split(_TRACEBACK)[1:]):
            lines = traceback.strip("\n").splitlines()
            # The frames are indented; the error is the first line that is not.
            error = next((i for i, line in enumerate(lines) if line[:1] != " "), len(lines) - 1)
            if _TORCHRUN not in lines[error]:
                return "\n".join([lines[error], _TRACEBACK, *lines[: error + 1]])
        return text.rpartition("\n")[2]
