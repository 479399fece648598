"""The table of jobs that ``dogbreeds tune`` writes, on SageMaker or on one machine."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dogbreeds.job_output.jobs import ReportError
from dogbreeds.job_output.metrics import METRICS

LOCAL_FILE = "jobs.csv"
"""The table in the output folder of ``dogbreeds tune --on local``."""

IMPORTANCE_FILE = "importance.json"
"""Beside `LOCAL_FILE`, the share of each hyperparameter in the objective; the sum is 1."""

_NAMES = ("job_name", "job")
_OBJECTIVE = "FinalObjectiveValue"  # SageMaker's table does not name the metric
_OTHERS = ("status", "state", "seconds")


def rank(objective: str, value: float | None) -> float:
    """Return a key that sorts jobs by their objective: the best first, those without one last."""
    if value is None:
        return math.inf
    return value if objective.endswith("loss") else -value


def write_tuning(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table with the columns of its rows; OSError if that fails."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_tuning(file: Path) -> dict[str, Any]:
    """Read a CSV table of jobs, the best one first.

    Returns:
        JSON-ready: ``name``; ``objective``, the column searched by; ``hyperparameters``, those
        searched over; ``importance``, see `IMPORTANCE_FILE`, or None; ``columns``, all of them;
        ``rows``, a list of strings and numbers per job, None for an empty cell.

    ReportError if the file is not such a table, OSError if it cannot be read.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.reader(stream, strict=True) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ReportError(f"expected a table of dogbreeds tune, got {file}: {error}") from error
    columns = rows[0] if rows else []
    objective = next((c for c in columns if c == _OBJECTIVE or c in METRICS), None)
    if objective is None or columns[0] not in _NAMES or any(len(r) != len(columns) for r in rows):
        raise ReportError(
            f"expected a table of dogbreeds tune ({_NAMES[0]}, ..., {_OBJECTIVE}), got {file} with"
            f" {', '.join(columns)[:200] or 'nothing'}"
        )
    importance = file.with_name(IMPORTANCE_FILE)
    kept = file.name == LOCAL_FILE and importance.is_file()
    known = (*_NAMES, *_OTHERS, objective)
    return {
        "name": file.parent.name if file.name == LOCAL_FILE else file.stem,
        "objective": objective,
        "hyperparameters": [column for column in columns if column not in known],
        "importance": json.loads(importance.read_text()) if kept else None,
        "columns": columns,
        "rows": [
            [t if c in _NAMES else _value(t) for c, t in zip(columns, row, strict=True)]
            for row in rows[1:]
        ],
    }


def _value(text: str) -> float | str | None:
    try:
        return float(text)
    except ValueError:
        return text or None
