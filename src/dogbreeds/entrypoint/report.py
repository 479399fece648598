"""Reports at the end of a job: which classes the model confuses, where it fails, how it learned.

JSON and CSV are for programs, PNG and one page for people, all in SageMaker's ``output.tar.gz``.
Pictures and the page are optional: if one fails, a warning says so and the job succeeds.
"""

import contextlib
import csv
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from dogbreeds.data.photo import Photo
from dogbreeds.entrypoint.grad_cam import grad_cam_pictures
from dogbreeds.html.page import write_page
from dogbreeds.html.thumbnails import thumbnail
from dogbreeds.job_output import jobs
from dogbreeds.model.architectures import is_transformer
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.document import WEIGHTS_FILE
from dogbreeds.report.document import REPORT_FILE, write_report
from dogbreeds.report.model_card import model_card
from dogbreeds.system.files import atomic_write, write_json
from dogbreeds.system.terminal import printable
from dogbreeds.training.augmentation import DRAWS, augment
from dogbreeds.training.device import PixelStore
from dogbreeds.training.evaluation import Predictions
from dogbreeds.training.selection import Result
from dogbreeds.training.settings import Settings

_WORST = 100
_PICTURES = 24  # of the worst mistakes, per split: as many as the report shows at first
_AUGMENTED, _VARIANTS = 6, 3  # photos, and pictures of each
_READABLE = 40  # this many class names still fit beside a confusion matrix
_COLORS = {"train": "C0", "valid": "C1", "test": "C2"}  # each split keeps its color in all pictures


def write_job(facts: Mapping[str, object], folder: Path) -> None:
    """Write facts of a job to `jobs.JOB_FILE` when it starts, with its name and the time."""
    document = {
        "name": os.environ.get("TRAINING_JOB_NAME", ""),  # SageMaker sets it
        "started": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    write_json(folder / jobs.JOB_FILE, document | dict(facts))


def evaluation_report(
    predictions: Predictions, paths: Sequence[Photo], classes: Sequence[PhotoClass]
) -> dict[str, Any]:
    """Evaluate a model's predictions of the N photos of a split.

    Returns:
        JSON-ready; ``ece`` is with ``temperature``, ``uncalibrated_ece`` without it, ``confusion``
        has C rows of true classes by C columns of predicted ones, ``worst`` the wrong predictions
        with the highest loss. Recall, precision and F1 are None where their denominator is 0.
    """
    predicted = predictions.classes[:, 0]
    pairs = predictions.targets * len(classes) + predicted  # true and predicted class as a number
    confusion = torch.bincount(pairs, minlength=len(classes) ** 2).view(len(classes), -1)
    right, rows, columns = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    f1 = [_ratio(2 * right[i], rows[i] + columns[i]) for i in range(len(classes))]
    measured = [f1[i] or 0.0 for i in range(len(classes)) if rows[i]]
    names = [item.name for item in classes]
    return {
        "photos": len(paths),
        "loss": predictions.loss, "accuracy": predictions.accuracy, "top5": predictions.top5,
        "temperature": predictions.temperature,
        "ece": predictions.ece, "uncalibrated_ece": predictions.uncalibrated.ece,
        "macro_f1": sum(measured) / len(measured) if measured else None,
        "classes": [
            {"class_id": item.label, "class_name": item.name, "photos": int(rows[i]),
             "recall": _ratio(right[i], rows[i]), "precision": _ratio(right[i], columns[i]),
             "f1": f1[i]}
            for i, item in enumerate(classes)
        ],
        "confusion": confusion.tolist(),
        "worst": [
            {"file": str(paths[i]), "class_name": names[int(predictions.targets[i])],
             "predicted": names[int(predicted[i])], "loss": float(predictions.losses[i]),
             "probability": float(predictions.probabilities[i, 0])}
            for i in predictions.mistakes[:_WORST].tolist()
        ],
    }  # fmt: skip


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> float | None:
    return float(part / whole) if whole else None


def write_reports(
    history: Sequence[dict[str, float]], predictions: dict[str, Predictions],
    paths: Mapping[str, Sequence[Photo]], classes: Sequence[PhotoClass], folder: Path,
) -> None:  # fmt: skip
    """Write the reports of a finished job; OSError if that fails.

    `history` has the metrics of each epoch, `predictions` and `paths` are by split.
    """
    worst: list[Photo] = []
    for split, found in predictions.items():
        report = evaluation_report(found, paths[split], classes)
        write_json(folder / f"evaluation_{split}.json", report)
        _write_predictions(found, paths[split], classes, folder / f"predictions_{split}.csv")
        with _accessory(f"confusion_{split}.png"):
            _draw_confusion(report, folder / f"confusion_{split}.png")
        photos = {str(photo): photo for photo in paths[split]}
        worst += [photos[mistake["file"]] for mistake in report["worst"]]
    with _accessory("learning_curves.png"):
        _draw_curves(history, folder / "learning_curves.png")
    with _accessory("thumbnails"):
        jobs.write_thumbnails(folder, worst)


def write_augmented(photos: PixelStore, settings: Settings, folder: Path) -> None:
    """Write `jobs.AUGMENTED_FILE`, what augmentation makes of a few training photos."""
    kind = settings.augmentation_strength
    if kind == "none":
        return
    with _accessory(jobs.AUGMENTED_FILE):
        random = torch.Generator().manual_seed(settings.seed)
        chosen = torch.randperm(len(photos), generator=random)[:_AUGMENTED]
        [(pixels, _)] = photos.batches([chosen])
        draws = torch.rand(_VARIANTS, DRAWS, len(chosen), generator=random)
        size, flip = settings.image_size, settings.horizontal_flip
        pictures = [pixels, *(augment(pixels, size, draw, kind, flip=flip) for draw in draws)]
        shown = [[thumbnail(Image.fromarray(image.byte().cpu().numpy()), 128) for image in batch]
                 for batch in pictures]  # fmt: skip
        write_json(folder / jobs.AUGMENTED_FILE, [
            {"file": str(photos.paths[i]), "pictures": list(row)}
            for i, row in zip(chosen.tolist(), zip(*shown, strict=True), strict=True)
        ])  # fmt: skip


def write_mistakes(
    result: Result, photos: Mapping[str, PixelStore], predictions: Mapping[str, Predictions],
    settings: Settings, folder: Path,
) -> None:  # fmt: skip
    """Write `jobs.GRAD_CAM_FILE`, and the worst mistakes with the job's result to TensorBoard."""
    worst = {name: found.mistakes[:_PICTURES] for name, found in predictions.items()}
    pixels: dict[str, torch.Tensor] = {}
    with _accessory(jobs.GRAD_CAM_FILE):
        for name, found in worst.items():
            if len(found):
                pixels[name] = next(photos[name].batches([found]))[0]
        if not is_transformer(settings.model):
            pictures: dict[str, str | None] = {}
            for name, batch in pixels.items():
                said = predictions[name].classes[worst[name], 0]
                shown = grad_cam_pictures(result.model, photos[name].preprocessing, batch, said)
                files = [str(photos[name].paths[i]) for i in worst[name].tolist()]
                pictures |= zip(files, map(thumbnail, shown), strict=True)
            write_json(folder / jobs.GRAD_CAM_FILE, pictures)
    with _accessory(jobs.TENSORBOARD_FOLDER), contextlib.suppress(ModuleNotFoundError):
        from dogbreeds.monitoring.tensorboard import write_result

        titles = {f"worst mistakes on {name}": batch.cpu() for name, batch in pixels.items()}
        write_result(folder / jobs.TENSORBOARD_FOLDER, vars(settings), result.metrics, titles)


def write_html_report(folder: Path, model: Path) -> None:
    """Write what people read of a job's ``output/data``: ``report.html`` and the model card.

    The card is part of the artifact in `model` too, if there is one.
    """
    with _accessory(jobs.CARD_FILE):
        card = model_card(jobs.read_job(folder, 0))
        for place in (folder, model):
            if place is folder or (model / WEIGHTS_FILE).is_file():
                write_page(place / jobs.CARD_FILE, card)
    with _accessory(REPORT_FILE):
        write_report([folder], folder / REPORT_FILE)


@contextlib.contextmanager
def _accessory(name: str) -> Iterator[None]:
    """Turn any failure into a warning: the model is trained, and the report can be repeated."""
    try:
        yield
    except Exception as error:
        print(f"warning: no {name}: {printable(str(error))}", file=sys.stderr, flush=True)


def _write_predictions(
    predictions: Predictions, paths: Sequence[Photo], classes: Sequence[PhotoClass], file: Path
) -> None:
    """Write one row per photo, for paired comparisons, label errors and other tools."""
    probabilities = (-predictions.losses).exp()
    with (
        atomic_write(file) as partial,
        partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            ("file", "class_id", "predicted", "probability", "probability_of_class", "top5")
        )
        for i, path in enumerate(paths):
            label = classes[int(predictions.targets[i])].label
            top = [classes[j].label for j in predictions.classes[i].tolist()]
            highest = float(predictions.probabilities[i, 0])
            own = float(probabilities[i])
            writer.writerow((path, label, top[0], f"{highest:.6f}", f"{own:.6f}", " ".join(top)))


@contextlib.contextmanager
def _drawing(file: Path, width: float, height: float) -> Iterator[Any]:
    """Yield an empty figure, in inches, that is then saved."""
    with tempfile.TemporaryDirectory() as folder:  # its font cache does not belong in a home
        os.environ.setdefault("MPLCONFIGDIR", folder)
        # Import it here: matplotlib takes a second. Its object interface needs no display.
        from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    yield figure
    with atomic_write(file) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _draw_curves(history: Sequence[dict[str, float]], file: Path) -> None:
    with _drawing(file, 10, 4) as figure:
        for axes, kind in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            for split, color in _COLORS.items():
                if (name := f"{split}_{kind}") in history[0]:
                    values = [epoch[name] for epoch in history]
                    epochs = range(1, len(values) + 1)
                    axes.plot(epochs, values, marker=".", label=split, color=color)
            axes.set(xlabel="epoch", title=kind)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
            axes.legend()


def _draw_confusion(report: dict[str, Any], file: Path) -> None:
    matrix = torch.tensor(report["confusion"], dtype=torch.float32)
    shares = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    count = len(matrix)
    named = count <= _READABLE
    side = max(5.0, count * 0.3 if named else 12.0)
    # A name such as $\frac$ is no formula, and bytes that are not UTF-8 cannot be drawn.
    texts = [printable(c["class_name" if named else "class_id"]) for c in report["classes"]]
    ticks = range(0, count, -(-count // _READABLE))  # every one if they are readable
    with _drawing(file, side + 1, side) as figure:
        axes = figure.subplots()
        image = axes.imshow(shares.numpy(), cmap="viridis", vmin=0, vmax=1)
        figure.colorbar(image, label="share of the true class's photos", shrink=0.8)
        axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {report['accuracy']:.1%}")
        axes.set_xticks(ticks, [texts[i] for i in ticks], rotation=90, parse_math=False)
        axes.set_yticks(ticks, [texts[i] for i in ticks], parse_math=False)
