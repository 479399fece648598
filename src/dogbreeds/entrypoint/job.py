"""A training job from its folders to its model artifact."""

import dataclasses
import signal
import sys
import traceback
from typing import Any

import torch

from dogbreeds.data.folders import find_photos
from dogbreeds.data.split import hold_out
from dogbreeds.entrypoint import report
from dogbreeds.entrypoint.failure import fail
from dogbreeds.entrypoint.graphs import add_graphs
from dogbreeds.entrypoint.log import tolerate_lost_lines
from dogbreeds.entrypoint.monitors import watched
from dogbreeds.entrypoint.provenance import provenance
from dogbreeds.job_output.jobs import GRAPHS_FILE
from dogbreeds.model import artifact, networks
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.files import remove_partial, write_json
from dogbreeds.system.processes import die_with_parent
from dogbreeds.system.resources import available_cpus, keep_freed_memory
from dogbreeds.system.terminal import progress_bar
from dogbreeds.training.callbacks import Callback
from dogbreeds.training.device import Device
from dogbreeds.training.distributed import Cluster, join_cluster
from dogbreeds.training.linear_probe import train_linear_probe
from dogbreeds.training.loop import Trainer
from dogbreeds.training.paths import JobPaths
from dogbreeds.training.photos import load_photos
from dogbreeds.training.settings import Settings, resolve_weights
from dogbreeds.training.stop import Stopped, StopRequest

_EXPECTED = (DogbreedsError, FloatingPointError, OSError)
# Settings that may differ between two runs of which one resumes the other.
_FREE = ("num_workers", "checkpoint_seconds", "pixel_cache", "compile",
         "profiler", "profile_steps", "debugger", "quantize")  # fmt: skip


def main() -> int:
    """Run the job that sagemaker-training's environment describes; return the exit code.

    It is 0 if the model was trained, or saved after SIGTERM; else 1, with an ``output/failure``.
    """
    tolerate_lost_lines()
    stop = StopRequest()
    keep_freed_memory()
    die_with_parent(signal.SIGTERM)  # nothing else would stop a job whose `train` was killed
    paths = JobPaths.from_environment()
    try:
        settings = Settings.from_environment()
        with join_cluster() as cluster:
            with watched(settings, paths, cluster) as callback:
                run(settings, paths, stop, cluster, callback)
            if cluster.is_main:  # the monitors have now written their files
                report.write_html_report(paths.output_data, paths.model)
    except Stopped:
        print("Stopped before there was anything to save", flush=True)
    except _EXPECTED as error:
        return fail(paths.failure, str(error))
    except torch.OutOfMemoryError:
        return fail(paths.failure, "the GPU's memory ran out: choose a smaller batch-size")
    except Exception as error:
        traceback.print_exc()
        return fail(paths.failure, f"{type(error).__name__}: {error}")
    return 0


def run(
    settings: Settings, paths: JobPaths, stop: StopRequest, cluster: Cluster, callback: Callback
) -> None:
    """Train, write the artifact to ``paths.model`` and reports to ``paths.output_data``.

    Stopped if a stop was requested before there was a model to save, DogbreedsError if the job
    cannot run as requested, OSError if a folder cannot be read or written.
    """
    settings = dataclasses.replace(settings, augmentation=settings.augmentation_strength)
    weights = resolve_weights(settings, paths.weights)
    if weights is None:  # random first blocks have as much to learn as the head
        settings = dataclasses.replace(settings, layer_decay=1.0, min_steps_per_epoch=1)
    remove_partial(paths.model)  # model.tar.gz would contain it
    classes, splits = find_photos(paths.splits)
    if "valid" not in splits:
        parts = train, _ = splits["train"], splits["train"]
        if cluster.local_rank == 0:
            parts = hold_out(train, settings.seed, settings.num_workers or available_cpus())
        splits["train"], splits["valid"] = cluster.from_local_leader(parts)
        if cluster.is_main:
            print(f"No split valid: {len(splits['valid'].paths)} photos of train are held out of"
                  " training, to choose and calibrate the model", flush=True)  # fmt: skip
    device = Device.best(cluster.local_rank, settings.precision)
    torch.manual_seed(settings.seed)
    model = networks.create_model(settings.model, len(classes))
    if weights:
        networks.load_pretrained(model, weights)
    model = model.to(device.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    # Keep the whole short side, without a center crop: dogs reach the edges (benchmarks/recipe.md).
    preprocessing = Preprocessing(settings.image_size, settings.image_size)
    if cluster.is_main:
        where = f"{cluster.size} x {device.device.type}" if cluster.size > 1 else device.device.type
        sizes = {name: len(split.paths) for name, split in splits.items()}
        counts = ", ".join(f"{size} {name}" for name, size in sizes.items())
        print(f"Training {settings.model} from {weights or 'random weights'} on {where}:"
              f" {len(classes)} classes, {counts}", flush=True)  # fmt: skip
        facts = {"device": where, "weights": str(weights or "random"), "classes": len(classes)}
        facts |= {f"{name}_photos": size for name, size in sizes.items()}
        made = provenance(settings, splits, weights)
        report.write_job(facts | made, paths.output_data)
    with callback.phase("read photos"):
        photos = load_photos(splits, classes, preprocessing, settings, device, cluster, stop,
                             paths.output_data / "photos.json")  # fmt: skip
    trainer = Trainer(model, settings, photos, device, paths.checkpoints, stop, cluster, callback)
    repeats = trainer.steps_per_epoch * trainer.batch_size / len(photos["train"])
    if repeats > 1 and settings.epochs and cluster.is_main:
        print(f"A small set: each epoch repeats its photos {repeats:.1f} times to have"
              f" {trainer.steps_per_epoch} steps (min_steps_per_epoch)", flush=True)  # fmt: skip
    state, selection = trainer.state, trainer.selection

    def save() -> None:
        if not cluster.is_main:
            return
        result = trainer.result
        trained = artifact.Artifact(
            model=result.model, architecture=settings.model, classes=classes,
            preprocessing=preprocessing, metrics=result.metrics, provenance=made,
            temperature=result.metrics.get("temperature", 1.0),
        )  # fmt: skip
        artifact.save(trained, paths.model)
        write_json(paths.output_data / "history.json", trainer.history)

    try:
        if trainer.resume(_identity(settings, classes)):
            if cluster.is_main:
                print(f"Resumed at step {state.step} of {state.total_steps}", flush=True)
        elif weights and settings.linear_probe_epochs:
            with callback.phase("linear probe"):
                _train_probe(trainer, settings, cluster, stop)
            trainer.checkpoint()  # a resumed job need not repeat the probe
        trainer.run(on_epoch=save)
        if not selection.predictions:  # the job resumed after the last epoch
            trainer.evaluate()
    except Stopped:
        save()
        if cluster.is_main:
            print(f"Stopped at step {state.step}: the model is saved", flush=True)
        return
    save()
    if cluster.is_main:
        files = {name: store.paths for name, store in photos.items()}
        output = paths.output_data
        report.write_reports(trainer.history, selection.predictions, files, classes, output)
        report.write_augmented(photos["train"], settings, output)
        report.write_mistakes(trainer.result, photos, selection.predictions, settings, output)
        with callback.phase("graphs"):
            _add_graphs(trainer, settings, paths, stop)


def _add_graphs(trainer: Trainer, settings: Settings, paths: JobPaths, stop: StopRequest) -> None:
    """Add ONNX graphs to the saved artifact, which is complete without them."""
    splits = trainer.splits
    try:
        graphs = add_graphs(paths.model, splits, quantize=settings.quantize, check=stop.check)
        measured = {name: {"accuracy": graph.accuracy, "agreement": graph.agreement}
                    for name, graph in graphs.items()}  # fmt: skip
        write_json(paths.output_data / GRAPHS_FILE, measured)
    except Stopped:
        print("Stopped: the model is saved without ONNX graphs", flush=True)
    except Exception as error:  # exporter, quantizer and engine raise many types
        print(f"warning: no ONNX graphs: {error}", file=sys.stderr, flush=True)


def _identity(settings: Settings, classes: tuple[PhotoClass, ...]) -> dict[str, Any]:
    """Return what two runs must share for one to resume the other."""
    values = {k: v for k, v in dataclasses.asdict(settings).items() if k not in _FREE}
    return {**values, "classes": [list(item) for item in classes]}


def _train_probe(trainer: Trainer, settings: Settings, cluster: Cluster, stop: StopRequest) -> None:
    """Train the head; a stop raises Stopped."""
    photos = trainer.splits["train"]
    share = len(cluster.part(torch.arange(len(photos))))
    with progress_bar("Linear probe", share, shown=cluster.is_main) as bar:
        trained = train_linear_probe(
            trainer.model, photos, trainer.device, epochs=settings.linear_probe_epochs,
            batch_size=max(1, 2 * settings.batch_size // cluster.size),
            label_smoothing=settings.label_smoothing, seed=settings.seed, cluster=cluster,
            on_progress=bar.update, should_stop=lambda: stop.received,
        )  # fmt: skip
    if any(cluster.collect(stop.received)):
        raise Stopped  # save no checkpoint: a resumed run would not learn the same from this head
    if trained:
        trainer.selection.keep_probe(trainer.model)
