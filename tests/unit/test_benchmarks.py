"""Results of benchmarks name where they were measured in one way, and are on one page."""

import csv
import runpy
from pathlib import Path

import pytest

RESULTS = sorted((Path(__file__).parents[2] / "benchmarks" / "results").glob("*.csv"))
ENVIRONMENT = ["machine", "cores", "torch", "python", "commit", "date"]  # of `environment.py`
OTHER_NAMES = {"device", "cpu", "gpu", "processors", "platform", "pytorch", "torch_version"}


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.name)
def test_a_result_ends_with_the_columns_of_its_environment(file: Path) -> None:
    with file.open(newline="") as stream:
        columns, *rows = csv.reader(stream)
    assert not columns[0].startswith("#")
    assert not OTHER_NAMES & set(columns)
    known = [name for name in ENVIRONMENT if name in columns]
    assert columns[len(columns) - len(known) :] == known
    assert rows
    assert all(len(row) == len(columns) for row in rows)


def test_the_page_of_results_is_that_of_the_tables() -> None:
    folder = RESULTS[0].parents[1]
    program = runpy.run_path(str(folder / "summary.py"))
    assert (folder / "RESULTS.md").read_text() == program["page"](), "run benchmarks/summary.py"
