"""What the drills share, and the table that they leave: fault, what happened, lost, seconds."""

import os
import sys
from pathlib import Path

import pytest

from helpers.drill_record import Record
from helpers.serving_process import save_tiny_archive

ROWS = pytest.StashKey[list[dict[str, object]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--drill-table", type=Path, metavar="FILE", help="write a table of drills")


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Record:
    """Add a line to the table."""
    rows = request.config.stash.setdefault(ROWS, [])

    def add(fault: str, happened: str, lost: str, seconds: float) -> None:
        rows.append(
            {"fault": fault, "happened": happened, "lost": lost, "seconds": f"{seconds:.1f}"}
        )

    return add


def pytest_sessionfinish(session: pytest.Session) -> None:
    file, rows = session.config.getoption("--drill-table"), session.config.stash.get(ROWS, [])
    if file and rows:
        sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
        from environment import write_csv  # type: ignore[import-not-found]

        with file.open("w", newline="") as stream:
            write_csv(rows, stream)


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether the drills run at full length, and not as short as in continuous integration."""
    return "DRILL_QUICK" not in os.environ


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of a small model."""
    return save_tiny_archive(tmp_path_factory.mktemp("model"))
