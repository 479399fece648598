"""The failure file of a job: why it failed, in one line that SageMaker shows."""

import os
import sys
from pathlib import Path

_SHOWN = 1024  # characters that SageMaker shows


def one_line(reason: str) -> str:
    """Return a reason as a line that SageMaker shows in full."""
    return " ".join(reason.split())[:_SHOWN]


def fail(file: Path, reason: str) -> int:
    """Print and write the reason of a failure.

    Args:
        file: The job's ``output/failure``.
        reason: In words.

    Returns:
        The exit code, 1.
    """
    line = one_line(reason)
    print(f"error: {line}", file=sys.stderr, flush=True)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # The first of several processes to fail knows the reason; the others only lost it.
        with file.open("x" if os.environ.get("WORLD_SIZE", "1") != "1" else "w") as stream:
            stream.write(line)
    except FileExistsError:
        pass
    except OSError as error:
        print(f"error: cannot write {file}: {error}", file=sys.stderr, flush=True)
    return 1
