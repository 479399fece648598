"""A training job's ``output/data``, read back for a report."""

import csv
import json
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dogbreeds.data.photo import Photo
from dogbreeds.html.thumbnails import thumbnail
from dogbreeds.job_output.findings import FINDINGS_FILE
from dogbreeds.job_output.profile import read_system
from dogbreeds.job_output.statistics import wilson_interval
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.files import write_json

JOB_FILE = "job.json"
HISTORY_FILE = "history.json"
CARD_FILE = "model_card.md"
GRAPHS_FILE = "graphs.json"
"""Accuracy and agreement of the model's ONNX graphs, by precision and split."""
AUGMENTED_FILE = "augmented.json"
"""Training photos: ``file``, and ``pictures``, the photo and what augmentation made of it."""
GRAD_CAM_FILE = "grad_cam.json"
"""Pictures of the worst mistakes, bright where they speak for the predicted class, by file."""
STEP_LOSSES_FILE = "step_losses.json"
"""The train loss within epochs: [epochs done, loss in nats]."""
PHOTOS_FILE = "photos.json"
TENSORBOARD_FOLDER = "tensorboard"
THUMBNAILS_FILE = "thumbnails.json"
_INSIDE = ("", "data", "output/data", "opt-ml/output/data")  # in a job's tree
_PLAIN_NAMES = ("data", "output", "opt-ml", "tree", "ml")  # folders that do not name a job
_MAX_UNPACKED = 2**30
_CONFIDENCE_BINS = 100


class ReportError(DogbreedsError, ValueError):
    """There is nothing to report on, or it is damaged; the message says what was expected."""


def write_thumbnails(folder: Path, photos: Iterable[Photo]) -> None:
    """Save thumbnails of readable photos in ``output/data``, for readers that lack the photos."""
    pictures = {str(photo): thumbnail(photo, 256) for photo in photos}
    write_json(folder / THUMBNAILS_FILE, {file: p for file, p in pictures.items() if p})


def find_output(folder: Path) -> Path | None:
    """Return the ``output/data`` of a job, given it or a folder around it; None: no job."""
    for inside in _INSIDE:
        output = folder / inside
        if (output / HISTORY_FILE).is_file() or (output / JOB_FILE).is_file():
            return output
    return None


def read_job(path: Path, most_photos: int) -> dict[str, Any]:
    """Read a job.

    Args:
        path: Its ``output/data``, a folder around that, or its ``output.tar.gz``.
        most_photos: Thumbnails to return, over all splits.

    Returns:
        JSON-ready, empty or None where the job lacks it: ``name``; ``job`` (see `JOB_FILE`);
        ``card``, the model card; ``history``, each epoch's metrics; ``step_losses``, see
        `STEP_LOSSES_FILE`; ``graphs``, see `GRAPHS_FILE`;
        ``splits``, by name what `dogbreeds.entrypoint.report.evaluation_report` returns, with
        confidence intervals, confusion as [row, column, count] without zeros, and pictures of the
        worst mistakes; ``photos``, the data inspection; ``augmented``, see `AUGMENTED_FILE`;
        ``system``, see `job_output.profile.read_system`; ``findings`` of Debugger's rules,
        each with the ``first`` step that triggers the rule and the ``last`` one judged.

    Raises:
        ReportError: There is no job, or one of its files is damaged.
        OSError: It cannot be read.
    """
    if path.is_file():
        return _read_packed(path, most_photos)
    output = find_output(path)
    if output is None:
        raise ReportError(
            f"expected the output of a training job ({HISTORY_FILE}), a tuning table (.csv) or"
            f" output.tar.gz, found none in {path}"
        )
    try:
        return _read_folder(output, _name(path), most_photos)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ReportError(
            f"a file in {output} is damaged or of another version: {type(error).__name__}: {error}"
        ) from error


def _read_packed(tar: Path, most_photos: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="dogbreeds-report-") as folder:
        try:
            with tarfile.open(tar) as archive:
                if sum(member.size for member in archive) > _MAX_UNPACKED:
                    raise ReportError(f"{tar} contains more than {_MAX_UNPACKED / 2**30:g} GiB")
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError) as error:
            reason = str(error).partition("\n")[0].rstrip(":")
            raise ReportError(f"expected an output.tar.gz, got {tar}: {reason}") from error
        job = read_job(Path(folder), most_photos)
    job["name"] = job["job"].get("name") or _name(tar)
    return job


def _name(path: Path) -> str:
    """Return the job's name in a path: /tmp/breeds-1/output/data is breeds-1."""
    names = [name for name in path.absolute().parts if name not in _PLAIN_NAMES]
    return names[-1].removesuffix(".tar.gz")


def _read_folder(output: Path, name: str, most_photos: int) -> dict[str, Any]:
    job, card = _read(output / JOB_FILE, {}), output / CARD_FILE
    thumbnails, cams = (_read(output / file, {}) for file in (THUMBNAILS_FILE, GRAD_CAM_FILE))
    splits = {}
    for split in ("test", "valid"):  # the one that counts is first
        if evaluation := _read(output / f"evaluation_{split}.json", None):
            predictions = _read_predictions(output / f"predictions_{split}.csv")
            splits[split] = _read_split(evaluation) | predictions
    for found in splits.values():
        for mistake in found["worst"][: most_photos // len(splits)]:
            mistake["thumbnail"] = thumbnails.get(mistake["file"])
            mistake["grad_cam"] = cams.get(mistake["file"])
    return {
        "name": job.get("name") or name,
        "job": job,
        "card": card.read_text(encoding="utf-8") if card.is_file() else "",
        "history": _read(output / HISTORY_FILE, []),
        "step_losses": _read(output / STEP_LOSSES_FILE, []),
        "graphs": _read(output / GRAPHS_FILE, {}),
        "splits": splits,
        "photos": _read(output / PHOTOS_FILE, {}),
        "augmented": _read(output / AUGMENTED_FILE, []),
        "system": read_system(output),
        "findings": [_read_finding(found) for found in _read(output / FINDINGS_FILE, [])],
    }


def _read_split(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    count = int(evaluation["photos"])
    return {
        **evaluation,
        "accuracy_interval": wilson_interval(evaluation["accuracy"], count),
        "top5_interval": wilson_interval(evaluation["top5"], count),
        "confusion": [
            [row, column, photos]
            for row, counts in enumerate(evaluation["confusion"])
            for column, photos in enumerate(counts)
            if photos
        ],
    }


def _read_predictions(file: Path) -> dict[str, Any]:
    """Return ``right``, 0 or 1 by file, and ``confidence``, see ``report/calibration.js``."""
    if not file.is_file():
        return {"right": {}, "confidence": None}
    right: dict[str, int] = {}
    bins = [[0, 0, 0.0] for _ in range(_CONFIDENCE_BINS)]
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        for row in csv.DictReader(stream):
            hit, confidence = row["class_id"] == row["predicted"], float(row["probability"])
            right[row["file"]] = int(hit)
            found = bins[min(int(confidence * _CONFIDENCE_BINS), _CONFIDENCE_BINS - 1)]
            found[0] += 1
            found[1] += hit
            found[2] += confidence
    return {"right": right, "confidence": bins}


def _read_finding(finding: Mapping[str, Any]) -> dict[str, Any]:
    verdicts = finding["verdicts"]
    first = next((verdict for verdict in verdicts if verdict["triggered"]), None)
    # Drop the others: the page shows at most these two.
    return {**finding, "verdicts": None, "first": first, "last": verdicts[-1] if verdicts else None}


def _read(file: Path, missing: Any) -> Any:  # noqa: ANN401  (any JSON)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else missing
