"""``dogbreeds tune``: a search for the best hyperparameters."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from dogbreeds.cli import base, flags
from dogbreeds.cli.train import needed_folder, weights_option, with_job
from dogbreeds.cloud.settings import CloudSettings

_HERE = (
    "training.hyperparameters", "tuning.objective", "tuning.max_jobs", "tuning.parallel_jobs",
)  # fmt: skip


@base.command()
@click.argument("data", required=False)
@flags.on_option(base.HERE, base.SAGEMAKER)
@base.option("-o", "--out", type=base.PATH, default=Path("build/tune"), metavar="DIR",
             help="The table's folder; local: also the jobs', where a stopped search resumes."
             )  # fmt: skip
@weights_option
@base.option("--warm-start", multiple=True, metavar="JOB",
             help="SageMaker: learn from a finished tuning job.")  # fmt: skip
@flags.set_option
@flags.job_options
@flags.with_settings("tuning", "training", "network", "images.flavor,training_uri",
                    without=("training.data", "training.weights"))  # fmt: skip
def tune(
    settings: CloudSettings, data: str | None, on: str, out: Path, weights: str | None,
    warm_start: tuple[str, ...], hyperparameters: dict[str, str], job: flags.Job,
) -> int:  # fmt: skip
    """Search for the best hyperparameters.

    DATA is a photos directory here, or s3://BUCKET/PREFIX (default on SageMaker: the setting
    training.data). --set fixes a hyperparameter for all jobs. With --on local one job runs at a
    time unless --parallel-jobs says otherwise.
    """
    settings = with_job(settings, on, data, weights, hyperparameters)
    if on == base.HERE:
        others = [*job.given(), *(["--warm-start"] if warm_start else [])]
        flags.refuse_flags(settings, on, others, _HERE)
        return _here(settings, needed_folder(data, on), out, weights, job.as_json)

    from dogbreeds.cloud.jobs import tuning

    def wait(name: str) -> dict[str, Any]:
        tuning.wait(cloud, name)
        rows = tuning.results(cloud, name)
        click.echo(tuning.table(rows))
        tuning.write_csv(rows, out / f"{name}.csv")
        tuning.plot(rows, settings.tuning.objective, out / f"{name}.png")
        click.echo(f"Wrote {out / name}.csv and .png", err=True)
        return {"jobs": rows}

    cloud = base.connect(settings, dry_run=job.dry_run)
    options: dict[str, Any] = {"name": job.name, "new": job.new, "warm_start": warm_start}
    job.run(cloud, lambda: tuning.start(cloud, fixed=list(hyperparameters), **options), wait)
    return 0


def _here(
    settings: CloudSettings, photos: Path, out: Path, weights: str | None, as_json: bool
) -> int:
    from dogbreeds.data.folders import find_roots
    from dogbreeds.data.split import ensure_split
    from dogbreeds.local.training import SPLIT_PHOTOS, starting_weights
    from dogbreeds.local.tuning import Search

    tuning = settings.tuning
    if "tuning.parallel_jobs" not in settings.origins:
        tuning = dataclasses.replace(tuning, parallel_jobs=1)
    with base.only_json(as_json):
        photos = ensure_split(photos, out / SPLIT_PHOTOS)
    if "tuning.objective" not in settings.origins and "valid" not in find_roots(photos):
        tuning = dataclasses.replace(tuning, objective="test_accuracy")
    file, fixed = starting_weights(weights, settings.training.hyperparameters)
    with base.only_json(as_json):
        search = Search(out, photos, file, fixed, tuning.objective, tuning.max_jobs,
                        tuning.parallel_jobs)  # fmt: skip
        rows = search.run()
    if as_json:
        base.print_json(rows)
    return 130 if search.stopped else 0
