"""Progress bars that also read well in a log file."""

import sys
from typing import NoReturn

from tqdm import tqdm


def progress_bar(label: str, total: int, done: int = 0, *, shown: bool = True) -> "tqdm[NoReturn]":
    """Return a bar that counts photos.

    Args:
        label: What is going on.
        total: Photos in all.
        done: Photos done before.
        shown: Of several processes only one shows its bars.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        desc=label,
        total=total,
        initial=done,
        disable=not shown,
        unit=" photos",
        mininterval=0.2 if terminal else 30,  # in CloudWatch every refresh is a line
        leave=not terminal,
        dynamic_ncols=terminal,
        file=sys.stderr,
    )
