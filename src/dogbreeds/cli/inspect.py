"""``dogbreeds report``, ``profile`` and ``debug``: how a job went, here or on SageMaker."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from dogbreeds.cli import base, flags
from dogbreeds.cloud.settings import CloudSettings
from dogbreeds.system.terminal import table


@base.command()
@click.argument("jobs", nargs=-1, required=True)
@base.option("-o", "--out", type=base.PATH, default=Path("build/report.html"), metavar="FILE",
             help="The page to write.")  # fmt: skip
@flags.with_settings()
def report(settings: CloudSettings, jobs: tuple[str, ...], out: Path) -> None:
    """Write one page about training jobs, for a browser.

    JOBS are training jobs on SageMaker, their folders or output.tar.gz, or tables or folders of
    dogbreeds tune.
    """
    from dogbreeds.cloud.jobs import outputs
    from dogbreeds.report.document import write_report

    with TemporaryDirectory(prefix="dogbreeds-report-") as folder:
        sources = [
            Path(job) if Path(job).exists() else outputs.fetch_output(settings, job, Path(folder))
            for job in jobs
        ]
        write_report(sources, out)
    click.echo(f"Wrote {out}: open it in a browser")


@contextmanager
def _monitored(settings: CloudSettings, job: str, source: str) -> Iterator[Path]:
    """Yield the folder of a job's ``profiler`` or ``debug`` output, downloaded if need be."""
    from dogbreeds.cloud.jobs.outputs import fetch_monitoring

    with TemporaryDirectory(prefix="dogbreeds-") as name:
        here = Path(job).is_dir()
        yield Path(job) if here else fetch_monitoring(settings, job, Path(name), source)


@base.command()
@click.argument("job")
@base.option("--rows", type=click.IntRange(0), default=0, metavar="N",
             help="Also print as many samples.")  # fmt: skip
@base.option("--csv", type=base.PATH, metavar="FILE", help="Write all samples.")
@flags.json_option
@flags.with_settings()
def profile(settings: CloudSettings, job: str, rows: int, csv: Path | None, as_json: bool) -> None:
    """Show how a training job used its hosts, and what its bottleneck is.

    JOB is a training job on SageMaker, or the folder that one wrote. The table of samples is that
    of SageMaker's Profiler; dogbreeds report plots the same metrics.
    """
    from dogbreeds.job_output import profile

    with _monitored(settings, job, "profiler") as folder:
        found = profile.read_profile(folder)
    usage, verdicts = profile.usage(found), profile.verdicts(found)
    if as_json:
        base.print_json({"phases": usage, "verdicts": verdicts})
    else:
        if rows:
            first = list(itertools.islice(profile.rows(found), rows))
            click.echo(table(first, profile.COLUMNS) + "\n")
        click.echo(f"{profile.usage_table(usage)}\n\n" + "\n".join(verdicts))
    if csv:
        profile.write_csv(found, csv)
        click.echo(f"Wrote {csv}", err=True)


@base.command()
@click.argument("job")
@flags.json_option
@flags.with_settings()
def debug(settings: CloudSettings, job: str, as_json: bool) -> int:
    """Show what SageMaker Debugger's rules find in a training job.

    JOB is a training job with Debugger, or the folder that one wrote. The exit code is 1 if
    a rule is triggered, or there is nothing to judge.
    """
    from dogbreeds.job_output import findings as found
    from dogbreeds.monitoring.debugger import rules

    with _monitored(settings, job, "debug") as folder:
        findings = rules.find(folder)
    base.output(as_json, [f.to_json() for f in findings], lambda: found.table(findings))
    return int(any(finding.first for finding in findings))
