"""A job on a terminal: a table row per epoch and one bar; everything else goes to a log file."""

import os
import re
import shutil
import sys
import textwrap
from pathlib import Path
from typing import IO

from dogbreeds.system.terminal import progress_bar

_BAR = re.compile(r"(?P<label>[^:|]+): +\d+%\|.*\| (?P<done>\d+)/(?P<total>\d+) ")  # a tqdm bar
_SHOWN = re.compile(r"Training (?!Env:)|Resumed|Stopped|Checkpoint|Left out|Debugger|warning:")
_COLUMNS = {  # heading: metric and format; a job has those of its splits, in 80 columns
    "epoch": ("epoch", ".0f"),
    "train loss": ("train_loss", ".4f"),
    "valid loss": ("valid_loss", ".4f"),
    "valid acc.": ("valid_accuracy", ".2%"),
    "test loss": ("test_loss", ".4f"),
    "test acc.": ("test_accuracy", ".2%"),
    "photos/s": ("photos_per_second", ".1f"),
}


def show(output: IO[bytes], log: Path) -> None:
    """Show what a job prints to a pipe until its end, its tqdm bars as one bar, and log it all."""
    on_terminal = sys.stderr.isatty()
    rows, rest, label = 0, b"", ""
    with log.open("wb", buffering=0) as file, progress_bar("Start", None, shown=on_terminal) as bar:
        bar.bar_format = "{desc} [{elapsed}]"  # until the job counts photos
        bar.refresh()
        while piece := os.read(output.fileno(), 2**16):
            file.write(piece)
            *lines, rest = re.split(rb"[\r\n]", rest + piece)
            for line in lines:
                text = line.decode(errors="replace")
                if found := _BAR.match(text):
                    if on_terminal:
                        if found["label"] != label:
                            label, bar.bar_format = found["label"], None
                            bar.reset()  # the rate must be that of this part of the job
                            bar.set_description(label, refresh=False)
                        bar.total, bar.n = int(found["total"]), int(found["done"])
                        bar.refresh()
                    continue
                if text.startswith("[metrics] "):
                    shown = _row(text, header=rows == 0)
                    rows += 1
                elif _SHOWN.match(text):
                    columns = shutil.get_terminal_size().columns if on_terminal else len(text)
                    shown = textwrap.fill(text, columns)
                else:
                    continue
                with bar.external_write_mode():
                    print(shown, flush=True)


def _row(line: str, *, header: bool) -> str:
    values = dict(re.findall(r"(\w+)=([^;\s]+)", line))
    cells = {heading: f"{float(values[metric]):{len(heading)}{form}}"
             for heading, (metric, form) in _COLUMNS.items() if metric in values}  # fmt: skip
    row = "  ".join(cells.values())
    return "  ".join(cells) + f"\n{row}" if header else row
