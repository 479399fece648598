"""``dogbreeds train`` and ``tune``: a training job, and a search for the best hyperparameters."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from dogbreeds.cli import base, flags
from dogbreeds.cloud.settings import CloudSettings
from dogbreeds.cloud.settings_sources import override
from dogbreeds.system.terminal import table

_TRAIN_ON_DOCKER = (
    "training.hyperparameters", "training.instance_count", "images.flavor", "images.training_uri",
)  # fmt: skip
_TUNE_HERE = (
    "training.hyperparameters", "tuning.objective", "tuning.max_jobs", "tuning.parallel_jobs",
)  # fmt: skip
_weights = base.option(
    "--weights", metavar="FILE|none|S3", show_default="ImageNet's",
    help="Starting weights; on SageMaker a channel, s3://BUCKET/PREFIX.",
)  # fmt: skip


@base.command()
@click.argument("data", required=False)
@flags.on_option(base.HERE, base.DOCKER, base.SAGEMAKER)
@base.option("-o", "--out", type=base.PATH, default=Path("build/train"), metavar="DIR",
             help="local, docker: where artifact and report go.")  # fmt: skip
@_weights
@flags.set_option
@flags.job_options
@flags.with_settings("training", "network", "images.flavor,training_uri",
                    without=("training.data", "training.weights"))  # fmt: skip
def train(
    settings: CloudSettings, data: str | None, on: str, out: Path, weights: str | None,
    hyperparameters: dict[str, str], job: flags.Job,
) -> None:  # fmt: skip
    """Run a training job.

    DATA is a photos directory, train|valid|test/CLASS/*.jpg, here or as s3://BUCKET/PREFIX
    (default on SageMaker: the setting training.data).
    """
    settings = with_job(settings, on, data, weights, hyperparameters)
    if on == base.SAGEMAKER:
        return _train_on_sagemaker(settings, job)
    on_docker = on == base.DOCKER
    usable = _TRAIN_ON_DOCKER if on_docker else ("training.hyperparameters",)
    flags.refuse_flags(settings, on, job.flags(), usable)
    photos = _needed_folder(data, on)
    with base.only_json(job.as_json):
        from dogbreeds.local import training

        if on_docker:
            from dogbreeds.local import containers

            artifact = containers.train(settings, photos, out, weights)
        else:
            artifact = training.train(photos, out, settings.training.hyperparameters, weights)
        click.echo(training.summary(out))
    if job.as_json:
        base.print_json({"model": artifact})


def with_job(
    settings: CloudSettings, on: str, data: str | None, weights: str | None, given: dict[str, str]
) -> CloudSettings:
    """Override the settings by a command's data, weights and hyperparameters."""
    if on == base.SAGEMAKER:
        for name, value, origin in (("data", data, "DATA"), ("weights", weights, "--weights")):
            if value is not None:
                settings = override(settings, f"training.{name}", value, origin)
    if given:
        merged = settings.training.hyperparameters | given
        settings = override(settings, "training.hyperparameters", merged, "--set")
    return settings


def _needed_folder(data: str | None, on: str) -> Path:
    if data is None:
        raise click.UsageError(f"--on {on} needs DATA, a photos directory")
    return Path(data)


def _train_on_sagemaker(settings: CloudSettings, job: flags.Job) -> None:
    from dogbreeds.cloud.jobs import training

    def wait(name: str) -> dict[str, Any]:
        description = training.wait(cloud, name)
        click.echo(training.report(cloud, description))
        return {"status": description["TrainingJobStatus"],
                "metrics": training.final_metrics(description),
                "model": description.get("ModelArtifacts", {}).get("S3ModelArtifacts")}  # fmt: skip

    cloud = base.connect(settings, dry_run=job.dry_run)
    job.run(cloud, lambda: training.start(cloud, name=job.name, new=job.new), wait)


@base.command()
@click.argument("data", required=False)
@flags.on_option(base.HERE, base.SAGEMAKER)
@base.option("-o", "--out", type=base.PATH, default=Path("build/tune"), metavar="DIR",
             help="The table's folder; local: also the jobs', where a stopped search resumes."
             )  # fmt: skip
@_weights
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
        others = {**job.flags(), "--warm-start": warm_start}
        flags.refuse_flags(settings, on, others, _TUNE_HERE)
        return _tune_here(settings, _needed_folder(data, on), out, weights, job.as_json)

    from dogbreeds.cloud.jobs import tuning
    from dogbreeds.job_output.search import write_tuning

    def wait(name: str) -> dict[str, Any]:
        tuning.wait(cloud, name)
        rows = tuning.results(cloud, name)
        click.echo(table([list(row.values()) for row in rows], tuning.COLUMNS))
        write_tuning(out / f"{name}.csv", rows)
        click.echo(f"Wrote {out / name}.csv: dogbreeds report shows it as a page", err=True)
        return {"jobs": rows}

    cloud = base.connect(settings, dry_run=job.dry_run)
    options: dict[str, Any] = {"name": job.name, "new": job.new, "warm_start": warm_start}
    job.run(cloud, lambda: tuning.start(cloud, fixed=list(hyperparameters), **options), wait)
    return 0


def _tune_here(
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
