"""What a person sees: tables, progress bars, and names of files with nothing harmful in them."""

import io
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:  # rich and tqdm are not in every environment that imports this module
    from tqdm import tqdm

_LOG_WIDTH = 10_000  # a log file has no width that a row could exceed


def printable(text: str) -> str:
    """Return a name as a terminal and a log can show it: a hostile one may hold control codes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def table(rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Return rows as lines of aligned columns, no wider than the terminal.

    Args:
        rows: Cells of equal number. Numbers are aligned to the right; None is shown as ``-``.
        header: Names of the columns; empty: no header.
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
    """Return a bar that vanishes from a terminal at its end and is rare in a log.

    Args:
        label: What is in progress.
        total: How much there is, if that is known.
        done: How much was done before.
        unit: ``"B"`` for bytes, which are then scaled.
        shown: Of several processes only one shows its bars.
    """
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    # In CloudWatch every refresh is a line. tqdm's own variable is for whoever reads our output.
    rare = float(os.environ.get("TQDM_MININTERVAL", "30"))
    return tqdm(
        desc=label,
        total=total,
        initial=done,
        disable=not shown,
        unit=unit,
        unit_scale=unit == "B",
        unit_divisor=1024 if unit == "B" else 1000,
        mininterval=0.2 if terminal else rare,
        leave=not terminal,
        dynamic_ncols=terminal,
        file=sys.stderr,
    )
