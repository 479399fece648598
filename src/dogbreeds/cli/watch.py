"""``dogbreeds report``, ``profile`` and ``debug``: what became of a job, here or on AWS."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dogbreeds.cli import monitoring
from dogbreeds.cli.verbs import add
from dogbreeds.cloud.settings import CloudSettings


def register(verbs: Any) -> None:  # noqa: ANN401
    """Add the verbs.

    Args:
        verbs: Where to.
    """
    report = add(verbs, "report", _report, (), "one page about training jobs, for a browser")
    report.add_argument("jobs", nargs="+", metavar="JOB|FOLDER",
                        help="a training job on SageMaker, a folder or output.tar.gz of one, a"
                        " table or folder of dogbreeds tune")  # fmt: skip
    report.add_argument("-o", "--out", type=Path, default=Path("build/report.html"),
                        metavar="FILE", help="default: build/report.html")  # fmt: skip

    profile = add(verbs, "profile", _profile, (), "what a training job made of its hosts")
    monitoring.add_profile_flags(profile)
    debug = add(verbs, "debug", _debug, (), "what is wrong with a training job")
    monitoring.add_debug_flags(debug)


def _report(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud.jobs import outputs
    from dogbreeds.job_output.jobs import ReportError
    from dogbreeds.report.document import write_report

    with tempfile.TemporaryDirectory(prefix="dogbreeds-report-") as folder:
        sources = [
            Path(job) if Path(job).exists() else outputs.fetch_output(settings, job, Path(folder))
            for job in options.jobs
        ]
        try:
            write_report(sources, options.out)
        except (ReportError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(f"Wrote {options.out}: open it in a browser")
    return 0


def _profile(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud.jobs.monitoring import fetch_profile

    return _on_folder(settings, options, fetch_profile, monitoring.show_profile)


def _debug(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud.jobs.monitoring import fetch_trial

    return _on_folder(settings, options, fetch_trial, monitoring.show_findings)


def _on_folder(
    settings: CloudSettings,
    options: argparse.Namespace,
    fetch: Callable[[CloudSettings, str, Path], Path],
    show: Callable[[Path, argparse.Namespace], int],
) -> int:
    """Show what a job wrote; that of a job on SageMaker is fetched first."""
    if Path(options.job).is_dir():
        return show(Path(options.job), options)
    with tempfile.TemporaryDirectory(prefix="dogbreeds-") as folder:
        return show(fetch(settings, options.job, Path(folder)), options)
