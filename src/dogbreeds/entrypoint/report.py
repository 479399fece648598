"""Reports at the end of a job: what the model mixes up, where it fails, how it learned.

JSON for programs, PNG and one page for people, all in SageMaker's ``output.tar.gz``.
"""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from dogbreeds.data.photo import Photo
from dogbreeds.job_output.jobs import JOB_FILE, ReportError, write_thumbnails
from dogbreeds.model.classes import PhotoClass
from dogbreeds.report.document import REPORT_FILE, write_report
from dogbreeds.system.files import atomic_write, write_json
from dogbreeds.training.evaluation import Predictions
from dogbreeds.training.settings import Settings

_WORST = 100
_READABLE = 40  # classes whose names still fit beside a confusion matrix


def write_job(settings: Settings, facts: Mapping[str, object], folder: Path) -> None:
    """Write what a job is asked to do, before it does it.

    Args:
        settings: Its hyperparameters.
        facts: What else a person wants to know of it, by a readable name.
        folder: Gets `JOB_FILE`.

    Raises:
        OSError: It cannot be written.
    """
    document = {
        "name": os.environ.get("TRAINING_JOB_NAME", ""),  # set by SageMaker
        "hyperparameters": dataclasses.asdict(settings),
        "started": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "torch": str(torch.__version__),
        **facts,
    }
    write_json(folder / JOB_FILE, document)


def evaluation_report(
    predictions: Predictions, paths: Sequence[Photo], classes: Sequence[PhotoClass]
) -> dict[str, Any]:
    """Describe how a model does on a split.

    Args:
        predictions: Of N photos.
        paths: Their N photos.
        classes: The C classes.

    Returns:
        JSON-ready: ``photos``, ``loss``, ``accuracy``, ``top5``, ``temperature``, ``ece`` with it
        and ``uncalibrated_ece`` without it; ``classes``, for each class its
        id, name, photos, accuracy (recall) and precision, the last two None where there is nothing
        to divide by; ``confusion``, C rows of the right classes by C columns of the predicted
        ones; ``worst``, the wrong predictions with the highest loss.
    """
    predicted = predictions.classes[:, 0]
    confusion = confusion_matrix(predictions.targets, predicted, len(classes))
    right = confusion.diagonal()
    wrong = (predicted != predictions.targets).nonzero().flatten()
    order = predictions.losses[wrong].argsort(descending=True, stable=True)
    return {
        "photos": len(paths),
        "loss": predictions.loss,
        "accuracy": predictions.accuracy,
        "top5": predictions.top5,
        "temperature": predictions.temperature,
        "ece": predictions.ece,
        "uncalibrated_ece": predictions.uncalibrated.ece,
        "classes": [
            {
                "class_id": item.label,
                "class_name": item.name,
                "photos": int(confusion[i].sum()),
                "accuracy": _share(right[i], confusion[i].sum()),
                "precision": _share(right[i], confusion[:, i].sum()),
            }
            for i, item in enumerate(classes)
        ],
        "confusion": confusion.tolist(),
        "worst": [
            {
                "file": str(paths[i]),
                "class_name": classes[int(predictions.targets[i])].name,
                "predicted": classes[int(predicted[i])].name,
                "probability": float(predictions.probabilities[i, 0]),
                "loss": float(predictions.losses[i]),
            }
            for i in wrong[order][:_WORST].tolist()
        ],
    }


def confusion_matrix(targets: torch.Tensor, predicted: torch.Tensor, classes: int) -> torch.Tensor:
    """Count photos by right class (row) and predicted class (column): [C, C], int64."""
    counts = torch.bincount(targets * classes + predicted, minlength=classes * classes)
    return counts.view(classes, classes)


def _share(part: torch.Tensor, whole: torch.Tensor) -> float | None:
    return float(part / whole) if whole else None


def write_reports(
    history: Sequence[dict[str, float]],
    predictions: dict[str, Predictions],
    paths: Mapping[str, Sequence[Photo]],
    classes: Sequence[PhotoClass],
    folder: Path,
) -> None:
    """Write the reports of a finished job.

    Args:
        history: Metrics of each epoch.
        predictions: By split name.
        paths: The photos of each of those splits.
        classes: The classes.
        folder: Gets ``learning_curves.png``, for each split ``evaluation_SPLIT.json`` and
            ``confusion_SPLIT.png``, and thumbnails of the worst mistakes.

    Raises:
        OSError: They cannot be written.
    """
    worst: list[Photo] = []
    for split, found in predictions.items():
        report = evaluation_report(found, paths[split], classes)
        write_json(folder / f"evaluation_{split}.json", report)
        _draw_confusion(report, folder / f"confusion_{split}.png")
        photos = {str(photo): photo for photo in paths[split]}
        worst += [photos[mistake["file"]] for mistake in report["worst"]]
    _draw_curves(history, folder / "learning_curves.png")
    write_thumbnails(folder, worst)


def write_html_report(folder: Path) -> None:
    """Write ``report.html``, a page with all that a job has left in its ``output/data``.

    Raises:
        OSError: It cannot be written.
    """
    try:
        write_report([folder], folder / REPORT_FILE)
    except ReportError as error:  # the model is trained, and the report can be made again
        print(f"warning: no {REPORT_FILE}: {error}", file=sys.stderr, flush=True)


def _draw_curves(history: Sequence[dict[str, float]], file: Path) -> None:
    # Imported here: matplotlib takes a second. The object interface needs no display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split in ("train", "valid", "test"):
            name = f"{split}_{kind}"
            if name in history[0]:
                epochs = range(1, len(history) + 1)
                axes.plot(epochs, [epoch[name] for epoch in history], marker=".", label=split)
        axes.set(xlabel="epoch", title=kind)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_write(file) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _draw_confusion(report: dict[str, Any], file: Path) -> None:
    from matplotlib.figure import Figure

    matrix = torch.tensor(report["confusion"], dtype=torch.float32)
    shares = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    count = len(matrix)
    named = count <= _READABLE
    side = max(5.0, count * 0.3 if named else 12.0)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares.numpy(), cmap="viridis", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the right class's photos", shrink=0.8)
    axes.set(xlabel="predicted", ylabel="right", title=f"accuracy {report['accuracy']:.1%}")
    if named:
        names = [entry["class_name"] for entry in report["classes"]]
        axes.set_xticks(range(count), names, rotation=90)
        axes.set_yticks(range(count), names)
    with atomic_write(file) as partial:
        figure.savefig(partial, format="png", dpi=110)
