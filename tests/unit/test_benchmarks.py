"""Results of benchmarks name where they were measured in one way, and are on one page."""

import csv
import itertools
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.serving_process import save_tiny_archive

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


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Returns what a benchmark defines."""
    folder = RESULTS[0].parents[1]
    monkeypatch.syspath_prepend(folder)
    return lambda name: runpy.run_path(str(folder / name))


@pytest.fixture
def plots(script: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What `plots.py` defines."""
    return script("plots.py")


def body(page: str) -> str:
    """What a page shows: the style and the scripts around it are those of all our pages."""
    return page.partition("<body>")[2].partition("<script")[0]


def test_the_page_of_plots_is_that_of_the_tables(plots: dict[str, Any]) -> None:
    page = (RESULTS[0].parents[1] / "results.html").read_text()
    assert body(page) == body(plots["document"]()), "run benchmarks/plots.py"
    names = {file.stem for file in RESULTS} & plots["TABLES"].keys()
    assert {name for name in plots["TABLES"] if f"<section id='{name}'>" in page} == names
    assert "http" not in body(page)


def test_a_missing_table_is_left_out_of_the_plots(plots: dict[str, Any], tmp_path: Path) -> None:
    assert "<section" not in plots["document"](tmp_path)
    (tmp_path / "drills.csv").write_text("fault,lost,machine,date\n<b>,nothing,CPU,2026-11-30\n")
    page = plots["document"](tmp_path)
    assert page.count("<section") == 1
    assert "&lt;b&gt;" in page
    assert "machine CPU, date 2026-11-30" in page


def test_bars_are_as_long_as_their_values(plots: dict[str, Any]) -> None:
    bars = plots["bars"]("s", [("ours", "1.50", True), ("other", "6", False)], mark=3)
    assert re.findall(r"rect width='([\d.]+)%'", bars) == ["25.0", "100.0"]
    assert bars.count("x1='50.0%'") == 2
    assert "1.50" in bars


@pytest.mark.filterwarnings("ignore:`torch.jit.trace")
def test_ray_serve_reports_nothing_and_keeps_its_files_in_the_benchmarks_folder(
    script: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    peers, model_dir = script("serving_peers.py"), save_tiny_archive(tmp_path / "model")
    (tmp_path / "servers").mkdir()
    known = peers["servers"](tmp_path / "servers", model_dir, 1, 4, tmp_path)
    for name, replicas, threads in (("rayserve", "1", "4"), ("rayserve-best", "4", "1")):
        server = known[name]
        assert server.environment["RAY_USAGE_STATS_ENABLED"] == "0"
        assert server.environment["RAY_AUTH_MODE"] == "disabled"
        assert server.environment["BENCHMARK_THREADS"] == threads
        assert server.command[-2:] == [replicas, str(tmp_path / "servers/ray")]
    for program in (tmp_path / "servers").glob("*.py"):
        compile(program.read_text(), program, "exec")


def test_what_was_planted_is_counted(
    script: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    findings = script("findings.py")
    for number in range(15):
        color = (17 * number, 255 - 17 * number, 99)
        Image.new("RGB", (40, 30), color).save(tmp_path / f"{number:02d}.jpg")
    planted = findings["plant"](tmp_path, 2)
    copies = {name: pair for pairs in planted.copies.values() for name, pair in pairs.items()}
    assert len(copies) == 8
    assert all((tmp_path / name).is_file() for name in [*copies, *copies.values()])
    [cropped, _] = planted.copies["cropped"]
    assert Image.open(tmp_path / cropped).size == (36, 27)
    with pytest.raises(OSError, match=r"(?i)truncated"):
        Image.open(tmp_path / min(planted.changed["broken"])).load()

    found = {"groups": [list(pair) for pair in copies.items()],
             **{problem: list(photos) for problem, photos in planted.changed.items()}}  # fmt: skip
    kinds = dict.fromkeys(findings["COPIES"] + findings["CHANGES"], 2)
    judge = findings["judge"]
    assert judge(found, planted) == {**kinds, "near_copy_recall": "1.00", "others": 0}
    nothing = {**dict.fromkeys(kinds, 0), "dark": "", "blurred": ""}
    expected = {**nothing, "near_copy_recall": "0.00", "others": 0}
    assert judge({"groups": [], "broken": []}, planted) == expected
    # By way of a third photo, which is none that anything was done to
    clean = {path.name for path in tmp_path.iterdir()} - copies.keys() - {*copies.values()}
    [other, *_] = clean.difference(*planted.changed.values())
    [(copy, original), *_] = planted.copies["resized"].items()
    judged = judge({"groups": [[copy, other], [other, original]]}, planted)
    assert (judged["resized"], judged["near_copy_recall"], judged["others"]) == (1, "0.17", 1)


def test_a_newcomer_does_what_the_documents_say(
    script: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    root = RESULTS[0].parents[2]
    pages = ("README.md", "docs/quickstart.md", "docs/sagemaker.md")
    said = "".join((root / page).read_text() for page in pages)
    clone, *steps = script("newcomer.py")["steps"](tmp_path, []).values()
    assert clone[0][:2] == ["git", "clone"]
    for first, second, *_ in itertools.chain.from_iterable(steps):
        assert f"{first} {second}" in said or first == "cp"


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
