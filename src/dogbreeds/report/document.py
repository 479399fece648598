"""The page itself: all jobs' data, and the script that shows it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dogbreeds.html.page import asset, page, write_page
from dogbreeds.job_output.jobs import ReportError, find_output, read_job
from dogbreeds.job_output.search import LOCAL_FILE, read_tuning
from dogbreeds.job_output.statistics import mcnemar

REPORT_FILE = "report.html"
_SCRIPTS = (  # they are concatenated in this order
    "chart.js", "matrix.js", "parallel.js", "search.js", "calibration.js",
    "evaluation.js", "sections.js", "report.js",
)  # fmt: skip
_MOST_PHOTOS = 200  # about 1.3 MB
_MOST_JOBS = 12  # more curves cannot be told apart


def write_report(sources: Sequence[Path], file: Path) -> None:
    """Write one report of one or several jobs, side by side.

    A source is a job's ``output/data``, a folder around it or its ``output.tar.gz``; a table of
    ``dogbreeds tune``, or the folder of a local search, with its best job. ReportError if there is
    nothing to report on, or it is damaged; OSError if a file cannot be read or written.
    """
    tables = [read_tuning(table) for source in sources if (table := _table(source))]
    jobs = [job for source in sources if (job := _job(source))]
    if len(jobs) > _MOST_JOBS:
        raise ReportError(f"expected at most {_MOST_JOBS} jobs to compare, got {len(jobs)}")
    read = [read_job(job, _MOST_PHOTOS // len(jobs)) for job in jobs]
    _tell_apart(read, jobs)
    _compare(read)
    title = " and ".join(entry["name"] for entry in [*read, *tables]) or "no job"
    document = page(
        f"{title} - training report", asset("report.html", __package__),
        css=asset("report.css", __package__),
        script=asset("dom.js") + "".join(asset(name, __package__) for name in _SCRIPTS),
        data={"jobs": read, "tunings": tables},
    )  # fmt: skip
    write_page(file, document)


def _table(source: Path) -> Path | None:
    if source.suffix == ".csv":
        return source
    return table if (table := source / LOCAL_FILE).is_file() else None


def _job(source: Path) -> Path | None:
    """Return where to read a source's job; None if it is only a table."""
    if source.suffix == ".csv":
        return None
    if (source / LOCAL_FILE).is_file():
        best = source / "best"
        return best if find_output(best) else None
    return source


def _compare(jobs: Sequence[dict[str, Any]]) -> None:
    """Add the p-value of the difference to the most accurate job to each split of each job."""
    for split in ("test", "valid"):
        splits = [job["splits"][split] for job in jobs if split in job["splits"]]
        best: dict[str, Any] = max(splits, key=lambda found: float(found["accuracy"]), default={})
        for found in splits:
            found["p_value"] = None
            shared = best["right"].keys() & found["right"].keys()
            if found is not best and len(shared) == len(best["right"]) == len(found["right"]) > 0:
                ours = sum(found["right"][file] > best["right"][file] for file in shared)
                theirs = sum(found["right"][file] < best["right"][file] for file in shared)
                found["p_value"] = mcnemar(ours, theirs)
        for found in splits:
            del found["right"]  # the page does not show single photos


def _tell_apart(jobs: Sequence[dict[str, Any]], paths: Sequence[Path]) -> None:
    """Rename jobs of the same name to their full paths."""
    names = [job["name"] for job in jobs]
    for job, path in zip(jobs, paths, strict=True):
        if names.count(job["name"]) > 1:
            job["name"] = str(path)
