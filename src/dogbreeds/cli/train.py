"""``dogbreeds train``: a training job."""

from pathlib import Path
from typing import Any

import click

from dogbreeds.cli import base, flags
from dogbreeds.cloud.settings import CloudSettings
from dogbreeds.cloud.settings_sources import override

_ON_DOCKER = (
    "training.hyperparameters", "training.instance_count", "images.flavor", "images.training_uri",
)  # fmt: skip
weights_option = base.option(
    "--weights", metavar="FILE|none|S3", show_default="ImageNet's",
    help="Starting weights; on SageMaker a channel, s3://BUCKET/PREFIX.",
)  # fmt: skip


@base.command()
@click.argument("data", required=False)
@flags.on_option(base.HERE, base.DOCKER, base.SAGEMAKER)
@base.option("-o", "--out", type=base.PATH, default=Path("build/train"), metavar="DIR",
             help="local, docker: where artifact and report go.")  # fmt: skip
@weights_option
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
        return _on_sagemaker(settings, job)
    on_docker = on == base.DOCKER
    others = [*job.given(), *(["--weights"] if on_docker and weights else [])]
    usable = _ON_DOCKER if on_docker else ("training.hyperparameters",)
    flags.refuse_flags(settings, on, others, usable)
    with base.only_json(job.as_json):
        if on_docker:
            from dogbreeds.cloud.jobs import local_mode

            artifact = local_mode.train(settings, needed_folder(data, on), out)
            click.echo(f"The artifact is {artifact}")
        else:
            from dogbreeds.local import training

            given = settings.training.hyperparameters
            artifact = training.train(needed_folder(data, on), out, given, weights)
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


def needed_folder(data: str | None, on: str) -> Path:
    """Return DATA as a folder; click.UsageError where it is missing."""
    if data is None:
        raise click.UsageError(f"--on {on} needs DATA, a photos directory")
    return Path(data)


def _on_sagemaker(settings: CloudSettings, job: flags.Job) -> None:
    from dogbreeds.cloud.jobs import training

    def wait(name: str) -> dict[str, Any]:
        description = training.wait(cloud, name)
        click.echo(training.report(cloud, description))
        metrics = description.get("FinalMetricDataList", [])
        return {"status": description["TrainingJobStatus"],
                "metrics": {metric["MetricName"]: metric["Value"] for metric in metrics},
                "model": description.get("ModelArtifacts", {}).get("S3ModelArtifacts")}  # fmt: skip

    cloud = base.connect(settings, dry_run=job.dry_run)
    job.run(cloud, lambda: training.start(cloud, name=job.name, new=job.new), wait)
