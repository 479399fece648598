"""``dogbreeds predict`` and ``transform``: photos in, classes out."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from dogbreeds.cli import base, flags
from dogbreeds.cli.serve import serving
from dogbreeds.cloud.settings import CloudSettings
from dogbreeds.system.terminal import printable, progress_bar


@base.command()
@click.argument("photos", type=base.PATH, nargs=-1, required=True)
@base.option("--model", type=base.PATH, metavar="ARTIFACT",
             help="Run this model.tar.gz here, without AWS, instead of an endpoint.")  # fmt: skip
@base.option("--target-model", metavar="NAME", help="The artifact of a multi-model endpoint.")
@base.option("--json", "as_json", is_flag=True, help="Print one JSON document per line.")
@flags.with_settings("endpoint.name,kind")
def predict(
    settings: CloudSettings, photos: tuple[Path, ...], model: Path | None,
    target_model: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Classify photos with a model on this machine (--model) or an endpoint.

    PHOTOS are files, or folders of them. The exit code is 1 if one is rejected.
    """
    files = find_photos(photos)
    if model:
        answers = _predict_here(model, files)
    else:
        from dogbreeds.cloud.endpoints import predict as endpoint

        answers = endpoint.predict(base.connect(settings), files, target_model)
    refused = 0
    with progress_bar("Predict", len(files), shown=len(files) > 1) as bar:
        for photo, answer, error, variant in answers:
            refused += answer is None
            bar.update()
            with bar.external_write_mode():
                if as_json:
                    click.echo(json.dumps({"photo": str(photo), **(answer or {"error": error})}))
                else:
                    click.echo(line(photo, answer, error, variant))
    return 1 if refused else 0


def _predict_here(
    model: Path, photos: Iterable[Path]
) -> Iterator[tuple[Path, dict[str, Any] | None, str, str]]:
    """Yield each photo with its answer, or why it was rejected, as an endpoint's `Prediction`."""
    from dogbreeds.classifier import Classifier
    from dogbreeds.model.photo import PhotoError

    classifier = Classifier.load(model)
    for photo in photos:
        try:
            yield photo, classifier.predict(photo), "", ""
        except PhotoError as error:
            yield photo, None, str(error), ""


def find_photos(paths: Sequence[Path]) -> list[Path]:
    """Return the named photos and those in the named folders; FileNotFoundError if none."""
    from dogbreeds.model.photo_formats import is_photo_file

    photos: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.is_file() and is_photo_file(p))
            if not found:
                raise FileNotFoundError(f"no photos in {path}")
            photos += found
        elif path.is_file():
            photos.append(path)
        else:
            raise FileNotFoundError(f"no such photo: {path}")
    return photos


def line(photo: Path, answer: dict[str, Any] | None, error: str, variant: str) -> str:
    """Format a prediction as a line for people."""
    name = printable(str(photo))
    if answer is None:
        return f"{name}  refused: {error}"
    probability = answer.get("probability")
    shown = f"{probability:.1%}" if isinstance(probability, float) else ""
    asked = "" if variant in ("", "main") else f"  ({variant})"
    return f"{name}  {answer['predicted_label']}  {answer.get('class_name', '')}  {shown}{asked}"


@base.command(epilog=f"On SageMaker {base.MODEL}")
@click.argument("model")
@click.argument("photos")
@flags.on_option(base.HERE, base.DOCKER, base.SAGEMAKER)
@base.option("-o", "--out", type=base.PATH, default=Path("build/transform"), metavar="DIR",
             help="local, docker: where the answers go, PHOTO.out for each.")  # fmt: skip
@base.option("--port", type=base.PORT, default=8080, metavar="N",
             help="docker: where its container listens.")  # fmt: skip
@base.option("--content-type", default="image/jpeg", help="sagemaker: of the photos.")
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
        flags.refuse_flags(settings, on, job.flags(), usable)
        with base.only_json(job.as_json):
            answers = {p: out / f"{p.relative_to(photos)}.out" for p in find_photos([Path(photos)])}
            if on == base.HERE:
                from dogbreeds.classifier import Classifier

                _transform(Classifier.load(Path(model)).predict, answers)
            else:
                from dogbreeds.local.server import predict

                with serving(Path(model), port, settings) as running:
                    _transform(partial(predict, running.url), answers)
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


def _transform(ask: Callable[[Path], dict[str, Any]], answers: dict[Path, Path]) -> None:
    """Write the answer per photo; a rejected photo fails the whole run, as on SageMaker."""
    for photo, answer in answers.items():
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.write_text(json.dumps(ask(photo)) + "\n")
