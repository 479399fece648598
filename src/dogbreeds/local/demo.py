"""The demo: train, pack, serve and ask, on one machine with nothing but Python."""

import json
import random
import shutil
import signal
import time
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dogbreeds.data.photo import PHOTO_SUFFIXES
from dogbreeds.data.sample import draw_sample
from dogbreeds.local import server, training
from dogbreeds.model import artifact
from dogbreeds.model.classes import parse_folder
from dogbreeds.system.ports import check_port, free_port

# The drawn sample is learned from random weights, at a size where a step takes milliseconds.
_SAMPLE_HYPERPARAMETERS = {
    "weights": "none",
    "image_size": 64,
    "epochs": 8,
    "lr": 0.003,
}
_HIGHEST_PORT = 32767  # the model server takes no higher one
_ASKED = 3  # photos that are posted


@dataclass(frozen=True)
class DemoOptions:
    """What `run` does.

    Attributes:
        work_dir: Everything is written below this folder; it is made anew.
        photos: A photos directory; None draws the sample.
        weights: A weights file to start from, or ``none``; None: ImageNet's for real photos.
        hyperparameters: Beyond the defaults.
        port: Where to serve; None: any free port.
        keep_serving: Serve until Ctrl-C after the answers are printed.
    """

    work_dir: Path
    photos: Path | None = None
    weights: str | None = None
    hyperparameters: Mapping[str, object] = field(default_factory=dict)
    port: int | None = None
    keep_serving: bool = False


def run(options: DemoOptions) -> None:
    """Run the demo; whatever it started has ended when it returns or raises.

    Raises:
        PhotosError, ModelError: The photos or weights are not there.
        TrainingFailedError, ServerFailedError: A step failed; the message tells why.
        KeyboardInterrupt: It was stopped by Ctrl-C or SIGTERM.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    port = free_port(18080) if options.port is None else options.port
    check_port(port, _HIGHEST_PORT)
    shutil.rmtree(options.work_dir, ignore_errors=True)
    options.work_dir.mkdir(parents=True)
    photos, hyperparameters = _photos(options)
    weights, hyperparameters = training.starting_weights(options.weights, hyperparameters)

    _say("1/3 Train with sagemaker-training's `train`")
    tree = options.work_dir / "opt-ml"
    training.make_tree(tree, photos, hyperparameters, weights)
    training.run(tree, options.work_dir / "train.log")
    metrics = artifact.read_document(tree / "model")["metrics"]

    _say("2/3 Pack model.tar.gz and start the model server")
    served = options.work_dir / "served"
    served.mkdir()
    artifact.pack(tree / "model", served / artifact.TAR_FILE)
    with server.serving(served, port, options.work_dir / "serve.log") as running:
        _say("3/3 Ask it")
        chosen = _choose_photos(photos)
        for photo in chosen:
            _ask(running.url, photo)
        if options.keep_serving:
            server.serve_until_stopped(running, port, chosen[0])
    _say_done(options, metrics, served / artifact.TAR_FILE, time.monotonic() - started)


def _photos(options: DemoOptions) -> tuple[Path, dict[str, object]]:
    """Return the photos directory and the hyperparameters that suit it."""
    if options.photos is None:
        photos = options.work_dir / "photos"
        draw_sample(photos)
        return photos, {**_SAMPLE_HYPERPARAMETERS, **options.hyperparameters}
    training.check_photos(options.photos)
    return options.photos, dict(options.hyperparameters)


def _choose_photos(photos: Path) -> list[Path]:
    """Return test photos of different classes, the same ones at every run."""
    split = photos / "test" if (photos / "test").is_dir() else photos / "valid"
    rng = random.Random(0)  # noqa: S311  (a choice of pictures, no secret)
    by_class = [
        sorted(p for p in folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)
        for folder in sorted(split.iterdir())
        if folder.is_dir()
    ]
    by_class = [paths for paths in by_class if paths]
    return [rng.choice(paths) for paths in rng.sample(by_class, min(_ASKED, len(by_class)))]


def _ask(url: str, photo: Path) -> None:
    try:
        answer = server.predict(url, photo)
    except urllib.error.HTTPError as error:  # e.g. a broken photo among the user's own
        print(f"{photo}\n  refused: {error.code} {error.read().decode(errors='replace')}")
        return
    expected = parse_folder(photo.parent.name)
    print(f"{photo}  (is {expected.label} {expected.name})\n  {json.dumps(answer)}")


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _say_done(
    options: DemoOptions, metrics: Mapping[str, float], tar: Path, seconds: float
) -> None:
    split = "test" if "test_accuracy" in metrics else "valid"
    print(
        f"\nDone in {seconds:.0f} s: {split} accuracy {metrics[f'{split}_accuracy']:.2%}."
        f"\nThe model archive is {tar}."
        f"\nThe report, for a browser, is {options.work_dir / 'opt-ml/output/data/report.html'}."
        "\n\nNext:"
        "\n  make serve-demo                     leave the server running, with a curl line to try"
    )
    if options.photos is None:
        print("  make demo DATA=path/to/dogImages    the same on real photos")
    print("  make build FLAVOR=cpu               the same job as container images", flush=True)
