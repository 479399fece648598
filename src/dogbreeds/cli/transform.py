"""``dogbreeds transform``: predictions for a folder of photos."""

import json
from pathlib import Path
from typing import Any

import click

from dogbreeds.cli import base, flags
from dogbreeds.cli.predict import find_photos
from dogbreeds.cloud.settings import CloudSettings


@base.command(epilog=f"On SageMaker {base.MODEL}")
@click.argument("model")
@click.argument("photos")
@flags.on_option(base.HERE, base.DOCKER, base.SAGEMAKER)
@base.option("-o", "--out", type=base.PATH, default=Path("build/transform"), metavar="DIR",
             help="local, docker: where the answers go, PHOTO.out for each.")  # fmt: skip
@base.option("--port", type=base.PORT, default=8080, metavar="N",
             help="docker: where its container listens.")  # fmt: skip
@base.option("--content-type", default="image/jpeg", help="docker, sagemaker: of the photos.")
@flags.job_options
@flags.with_settings("transform", "network", "images.flavor,serving_uri")
def transform(
    settings: CloudSettings, model: str, photos: str, on: str, out: Path, port: int,
    content_type: str, job: flags.Job,
) -> None:  # fmt: skip
    """Write a prediction per photo of a folder (on SageMaker: Batch Transform).

    MODEL is an artifact, a file here or on S3, or the name of a job. PHOTOS is a folder here, or
    an s3:// folder of photos of one type.
    """
    if on != base.SAGEMAKER:
        usable = ("images.flavor", "images.serving_uri") if on == base.DOCKER else ()
        flags.refuse_flags(settings, on, job.given(), usable)
        with base.only_json(job.as_json):
            if on == base.HERE:
                _here(Path(model), Path(photos), out)
            else:
                from dogbreeds.cloud.jobs import local_mode

                local_mode.transform(settings, Path(model), Path(photos), out,
                                     content_type=content_type, port=port)  # fmt: skip
            click.echo(f"Answers: {out}")
        if job.as_json:
            base.print_json({"answers": out})
        return

    from dogbreeds.cloud.jobs import transform

    def wait(name: str) -> dict[str, Any]:
        answers = transform.wait(cloud, name)
        click.echo(f"Answers: {answers}")
        return {"answers": answers}

    cloud = base.connect(settings, dry_run=job.dry_run)
    options: dict[str, Any] = {"content_type": content_type, "name": job.name, "new": job.new}
    job.run(cloud, lambda: transform.start(cloud, model, photos, **options), wait)


def _here(artifact: Path, photos: Path, out: Path) -> None:
    """Predict on this machine; a rejected photo fails the whole run, as on SageMaker."""
    from dogbreeds.classifier import Classifier

    files = find_photos([photos])
    classifier = Classifier.load(artifact)
    for photo in files:
        answer = out / f"{photo.relative_to(photos)}.out"
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.write_text(json.dumps(classifier.predict(photo)) + "\n")
