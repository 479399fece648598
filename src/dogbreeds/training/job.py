"""A training job from its folders to its model archive."""

import dataclasses
import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch

from dogbreeds import artifact, models
from dogbreeds.architectures import ModelError
from dogbreeds.data.folders import PhotosError, Split, find_photos
from dogbreeds.data.pixels import DecodedSplit, decode_split
from dogbreeds.images import Preprocessing
from dogbreeds.labels import Breed
from dogbreeds.processes import die_with_parent
from dogbreeds.training.checkpoint import CheckpointError
from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.head import train_head
from dogbreeds.training.loop import Trainer
from dogbreeds.training.paths import JobPaths
from dogbreeds.training.progress import progress_bar
from dogbreeds.training.settings import (
    Settings,
    SettingsError,
    default_workers,
    parse_arguments,
    resolve_weights,
)
from dogbreeds.training.stop import Stopped, StopRequest

_EXPECTED = (SettingsError, ModelError, PhotosError, CheckpointError, FloatingPointError, OSError)


def main(arguments: list[str] | None = None) -> int:
    """Run the job that the command line and sagemaker-training's environment describe.

    Returns:
        The exit code: 0 when the model is trained or was saved after SIGTERM, 1 otherwise; the
        reason then stands in ``output/failure``, in one line.
    """
    stop = StopRequest()
    die_with_parent(signal.SIGTERM)  # nobody is left to stop a job whose `train` was killed
    paths = JobPaths.from_environment()
    try:
        run(parse_arguments(sys.argv[1:] if arguments is None else arguments), paths, stop)
    except Stopped:
        print("Stopped before there was anything to save", flush=True)
    except _EXPECTED as error:
        return _fail(paths.failure, str(error))
    except torch.OutOfMemoryError:
        return _fail(paths.failure, "the GPU's memory ran out: choose a smaller batch-size")
    except Exception as error:
        traceback.print_exc()
        return _fail(paths.failure, f"{type(error).__name__}: {error}")
    return 0


def _fail(file: Path, reason: str) -> int:
    line = " ".join(reason.split())[:1024]  # SageMaker shows the first 1,024 characters
    print(f"error: {line}", file=sys.stderr, flush=True)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(line)
    except OSError as error:
        print(f"error: cannot write {file}: {error}", file=sys.stderr, flush=True)
    return 1


def run(settings: Settings, paths: JobPaths, stop: StopRequest) -> None:
    """Train, and leave the archive in ``paths.model`` and reports in ``paths.output_data``.

    Raises:
        Stopped: A stop was asked for before there was a model to save.
        SettingsError, ModelError, PhotosError, CheckpointError: The job cannot run as asked.
        OSError: A folder cannot be read or written.
    """
    weights = resolve_weights(settings, paths.weights)
    breeds, splits = find_photos(paths.splits)
    device = Device.best()
    torch.manual_seed(settings.seed)
    model = models.create_model(settings.model, len(breeds))
    if weights:
        models.load_pretrained(model, weights)
    model = model.to(device.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    preprocessing = Preprocessing(
        resize_size=round(settings.image_size * 256 / 224), image_size=settings.image_size
    )
    print(
        f"Training {settings.model} from {weights or 'random weights'} on {device.device}:"
        f" {len(breeds)} classes, "
        + ", ".join(f"{len(split.paths)} {name}" for name, split in splits.items()),
        flush=True,
    )
    decoded = _decode(splits, preprocessing, settings, stop)
    _report_photos(decoded, splits, breeds, paths.output_data)
    stores = {name: PixelStore(split, preprocessing, device) for name, split in decoded.items()}
    trainer = Trainer(model, settings, stores, device, paths.checkpoints, stop)

    def save() -> None:
        metrics = trainer.history[-1] if trainer.history else {}
        _save(model, settings, breeds, preprocessing, metrics, paths)
        _write_json(paths.output_data / "history.json", trainer.history)

    if trainer.resume(_identity(settings, breeds)):
        print(f"Resumed at step {trainer.step} of {trainer.total_steps}", flush=True)
    elif weights and settings.head_epochs:
        _head_first(model, stores["train"], device, settings, stop)
        trainer.checkpoint()  # a resumed job need not do this again
    try:
        trainer.run(on_epoch=save)
    except Stopped:
        save()
        print(f"Stopped at step {trainer.step}: model and checkpoint are saved", flush=True)
    else:
        save()


def _identity(settings: Settings, breeds: tuple[Breed, ...]) -> dict[str, Any]:
    """What two runs must share for one to continue the other."""
    free = ("workers", "checkpoint_seconds")  # may change from run to run
    values = {k: v for k, v in dataclasses.asdict(settings).items() if k not in free}
    return {**values, "classes": [list(breed) for breed in breeds]}


def _decode(
    splits: dict[str, Split], preprocessing: Preprocessing, settings: Settings, stop: StopRequest
) -> dict[str, DecodedSplit]:
    # Room around the model's input for random crops; its centre is what serving sees.
    larger = dataclasses.replace(preprocessing, image_size=preprocessing.resize_size)
    decoded = {}
    with progress_bar("Read photos", sum(len(s.paths) for s in splits.values())) as bar:

        def on_progress(photos: int) -> None:
            bar.update(photos)
            stop.check()

        for name, split in splits.items():
            decoded[name] = decode_split(
                split,
                larger,
                workers=settings.workers or default_workers(),
                broken_photos=settings.broken_photos,  # type: ignore[arg-type]  # checked choice
                on_progress=on_progress,
            )
    return decoded


def _report_photos(
    decoded: dict[str, DecodedSplit],
    splits: dict[str, Split],
    breeds: tuple[Breed, ...],
    folder: Path,
) -> None:
    """Name the photos that are left out, in the log and in ``photos.json``.

    Raises:
        PhotosError: A class has no photo left to train on.
    """
    report: dict[str, Any] = {}
    for name, split in decoded.items():
        report[name] = {
            "photos": len(split.paths),
            "broken": {str(path): reason for path, reason in split.broken},
            "ignored": [str(path) for path in splits[name].ignored],
        }
        for path, reason in split.broken:
            print(f"Left out {path}: {reason}", flush=True)
    _write_json(folder / "photos.json", report)
    lost = set(range(len(breeds))) - set(decoded["train"].targets.tolist())
    if lost:
        raise PhotosError(
            f"class {breeds[min(lost)].class_name} has no photo in train that can be decoded;"
            " see the log for the reasons"
        )


def _head_first(
    model: torch.nn.Module,
    photos: PixelStore,
    device: Device,
    settings: Settings,
    stop: StopRequest,
) -> None:
    with progress_bar("Head first", len(photos)) as bar:

        def on_progress(count: int) -> None:
            bar.update(count)
            stop.check()

        train_head(
            model,
            photos,
            device,
            epochs=settings.head_epochs,
            batch_size=2 * settings.batch_size,
            label_smoothing=settings.label_smoothing,
            seed=settings.seed,
            on_progress=on_progress,
        )


def _save(
    model: torch.nn.Module,
    settings: Settings,
    breeds: tuple[Breed, ...],
    preprocessing: Preprocessing,
    metrics: dict[str, float],
    paths: JobPaths,
) -> None:
    trained = artifact.Artifact(
        model=model,
        architecture=settings.model,
        classes=breeds,
        preprocessing=preprocessing,
        metrics=metrics,
        provenance={"hyperparameters": dataclasses.asdict(settings)},
    )
    artifact.save(trained, paths.model)


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as stream:
        json.dump(value, stream, indent=2)
    Path(name).chmod(0o644)
    Path(name).replace(path)
