"""Writes RESULTS.md: all tables of ``results/``, each with where and when it was measured.

python benchmarks/summary.py
"""

import csv
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE / "RESULTS.md"
ENVIRONMENT = ("machine", "cores", "torch", "python", "commit", "date")  # of `environment`
TABLES = {
    "ratios": "Ratios that `make bench-check` compares (`check.py`)",
    "serving": "Serving beside peers (`serving.py`)",
    "user_code": "One `inference.py` in three servers (`user_code.py`)",
    "start": "Size, start and memory of the serving images (`start.py`)",
    "serving_batches": "Serving by batch size (`serving.py`)",
    "serving_backends": "Engines for the forward pass (`serving_backends.py`)",
    "queueing": "How long requests wait: a simulation (`queueing.py`)",
    "training": "Training (`training.py`)",
    "recipe": "Accuracy of the recipe (`recipe.py`; its reasons: [recipe.md](recipe.md))",
    "data": "Checking, unpacking and sending photos (`data.py`)",
    "findings": "Planted problems that checkers of photos find (`findings.py`)",
    "decode": "Decoding (`decode.py`)",
    "newcomer": "What a newcomer waits for (`newcomer.py`)",
    "drills": "What faults cost (`make drill`)",
}


def page() -> str:
    """Return the page, of the tables that there are."""
    lines = ["# Results", "", "Made by `make bench` from `results/`. Ratios were measured side by"
             " side in one run; times are of the machine named. [results.html](results.html) has"
             " bars of them."]  # fmt: skip
    for name, title in TABLES.items():
        if (file := HERE / "results" / f"{name}.csv").is_file():
            with file.open(newline="") as stream:
                rows = list(csv.DictReader(stream))
            lines += ["", f"## {title}", "", *_table(rows)]
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, str]]) -> list[str]:
    places = {tuple(f"{k} {row[k]}" for k in ENVIRONMENT if row.get(k)) for row in rows}
    columns = [name for name in rows[0] if name not in ENVIRONMENT]
    cells = [[row[name].replace("|", "/") for name in columns] for row in rows]
    return [
        *(f"{', '.join(place)}  " for place in sorted(places)),
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
        *(f"| {' | '.join(line)} |" for line in cells),
    ]


def main() -> int:
    """Write the page."""
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
