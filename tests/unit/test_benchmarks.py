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


def test_the_simulation_of_waiting_agrees_with_the_server() -> None:
    program = runpy.run_path(str(RESULTS[0].parents[1] / "queueing.py"))
    rows = program["measured"]()
    for clients in (4, 16):
        rate, median = program["closed"](clients, *program["fit"](rows))
        assert rate == pytest.approx(rows[clients][0], rel=0.15)
        assert median == pytest.approx(rows[clients][1], rel=0.15)


def test_waiting_grows_with_the_load() -> None:
    program = runpy.run_path(str(RESULTS[0].parents[1] / "queueing.py"))
    waits = [sum(program["opened"](share, 4.0, 8.0)) for share in (0.1, 0.5, 0.9)]
    assert waits == sorted(waits)
    assert waits[0] / program["REQUESTS"] == pytest.approx(12.0, rel=0.1)  # alone: 4 + 8 ms
