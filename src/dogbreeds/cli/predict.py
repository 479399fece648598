"""``dogbreeds predict``: photos in, classes out."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from dogbreeds.cli import base, flags
from dogbreeds.cloud.settings import CloudSettings
from dogbreeds.system.terminal import printable, progress_bar

_Answer = tuple[Path, dict[str, Any] | None, str, str]
"""A photo, its answer, why it was rejected, and which variant answered."""


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
    answers = _here(model, files) if model else _from_endpoint(settings, files, target_model)
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


def _from_endpoint(
    settings: CloudSettings, photos: Sequence[Path], target: str | None
) -> Iterator[_Answer]:
    from dogbreeds.cloud.endpoints.predict import predict

    for found in predict(base.connect(settings), photos, target):
        yield found.photo, found.answer, found.error, found.variant


def _here(model: Path, photos: Iterable[Path]) -> Iterator[_Answer]:
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
