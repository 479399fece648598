"""The failure file of a job: why it failed, in one line that SageMaker displays."""

import os
import sys
from pathlib import Path


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
