"""Where and when a benchmark ran: the columns that each of its result files ends with."""

import csv
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

import torch

from dogbreeds.system.resources import available_cpus


def environment(device: str | None = None) -> dict[str, object]:
    """Return processor or GPU, cores, versions of PyTorch and Python, commit and date.

    `device` ``"cpu"`` names the processor where there is a GPU, too.
    """
    on_gpu = torch.cuda.is_available() and device != "cpu"
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent,
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return {
        "machine": torch.cuda.get_device_name() if on_gpu else _cpu_name(),
        "cores": available_cpus(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
    }


def write_csv(
    rows: Sequence[Mapping[str, object]], file: TextIO, *, device: str | None = None
) -> None:
    """Write rows of the same columns, followed by those of `environment`."""
    here = environment(device)
    writer = csv.DictWriter(file, [*rows[0], *here], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **here} for row in rows)


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
