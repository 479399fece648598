"""The table of a hyperparameter search, of ``dogbreeds tune`` on SageMaker or on one machine."""

import csv
from pathlib import Path
from typing import Any

from dogbreeds.job_output.jobs import ReportError
from dogbreeds.job_output.metrics import METRICS

LOCAL_FILE = "jobs.csv"
"""What ``dogbreeds tune --on local`` leaves in its output folder."""

_NAMES = ("job_name", "job")
_OBJECTIVE = "FinalObjectiveValue"  # of SageMaker's table, which does not say of which metric
_OTHERS = ("status", "state", "seconds")


def read_tuning(file: Path) -> dict[str, Any]:
    """Read a table of jobs.

    Args:
        file: The CSV file; the best job stands first.

    Returns:
        JSON-ready: ``name``; ``objective``, the column with what was searched for;
        ``hyperparameters``, the columns that were varied; ``columns``, all of them; ``rows``, a
        list of texts and numbers a job, None where there is nothing.

    Raises:
        ReportError: The file is no such table.
        OSError: It cannot be read.
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
    known = (*_NAMES, *_OTHERS, objective)
    return {
        "name": file.parent.name if file.name == LOCAL_FILE else file.stem,
        "objective": objective,
        "hyperparameters": [column for column in columns if column not in known],
        "columns": columns,
        "rows": [
            [
                text if name in known[:2] else _value(text)
                for name, text in zip(columns, row, strict=True)
            ]
            for row in rows[1:]
        ],
    }


def _value(text: str) -> float | str | None:
    try:
        return float(text)
    except ValueError:
        return text or None
