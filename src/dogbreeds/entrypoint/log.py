"""The job's log, which is an accessory: a disk that is full for it does not fail the job."""

import io
import sys
from typing import IO, Any


class _Log(io.FileIO):
    def write(self, data: Any, /) -> int:  # noqa: ANN401  (any buffer)
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes  # it is lost


def tolerate_lost_lines() -> None:
    """Replace stdout and stderr by streams whose writes never fail."""
    sys.stdout, sys.stderr = _tolerant(sys.stdout), _tolerant(sys.stderr)


def _tolerant(stream: IO[str]) -> io.TextIOWrapper:
    raw = _Log(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
