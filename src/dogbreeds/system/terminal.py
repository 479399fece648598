"""Output for people: tables, progress bars, and file names without control codes."""

import io
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:  # rich and tqdm are not in every environment that imports this module
    from tqdm import tqdm

_LOG_WIDTH = 10_000  # no row exceeds it in a log file


def printable(text: str) -> str:
    """Return a name with its control codes escaped, which a hostile file name may contain."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def table(rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Return rows as lines of aligned columns, no wider than the terminal.

    Columns of numbers are right-aligned; None is shown as ``-``. `header` has the columns' names.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = list(rows)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(header))
    for index in range(len(header) or len(cells[0]) if cells or header else 0):
        numeric = all(isinstance(row[index], int | float | None) for row in cells)
        name = Text(header[index] if header else "")
        grid.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        grid.add_row(*(Text(printable(_cell(cell))) for cell in row))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _LOG_WIDTH
    output = io.StringIO()
    Console(file=output, width=width).print(grid)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


def _cell(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 1000 else f"{cell:.0f}"
    return "-" if cell is None else str(cell)


def progress_bar(
    label: str, total: int | None, done: int = 0, *, unit: str = " photos", shown: bool = True
) -> "tqdm[NoReturn]":
    """Return a bar that disappears from a terminal at its end and is rarely printed in a log.

    `done` of `total` units, if that is known, were finished before; the unit ``"B"``, bytes, is
    scaled. Only one of several processes should have its bar shown.
    """
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    # Every refresh is a line in CloudWatch. A parent process sets tqdm's variable to get more.
    rare = float(os.environ.get("TQDM_MININTERVAL", "30"))
    return tqdm(
        desc=label, total=total, initial=done, disable=not shown,
        unit=unit, unit_scale=unit == "B", unit_divisor=1024 if unit == "B" else 1000,
        mininterval=0.2 if terminal else rare, leave=not terminal, dynamic_ncols=terminal,
        file=sys.stderr,
    )  # fmt: skip
