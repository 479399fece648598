"""The demo: train, pack, serve and ask, on one machine with nothing but Python."""

import json
import random
import shutil
import signal
import sys
import time
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dogbreeds.data.folders import find_photos, find_roots
from dogbreeds.data.photo import PhotosError
from dogbreeds.data.sample import draw_sample
from dogbreeds.data.split import ensure_split
from dogbreeds.local import server, training
from dogbreeds.local.try_page.server import try_page
from dogbreeds.model import artifact
from dogbreeds.model.architectures import ModelError, find_imagenet_weights
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
        weights: A weights file to start from; None: ImageNet's for real photos.
        hyperparameters: Beyond the defaults.
        port: Where to serve; None: any free port.
        keep_serving: Serve until Ctrl-C after the answers are printed.
    """

    work_dir: Path
    photos: Path | None = None
    weights: Path | None = None
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
    weights = _weights(options, hyperparameters)
    if weights:
        hyperparameters["weights"] = weights.name

    _say("1/3 Train with sagemaker-training's `train`")
    tree = options.work_dir / "opt-ml"
    training.make_tree(tree, photos, hyperparameters, weights)
    training.run(tree)
    metrics = artifact.read_document(tree / "model")["metrics"]

    _say("2/3 Pack model.tar.gz and start the model server")
    served = options.work_dir / "served"
    served.mkdir()
    artifact.pack(tree / "model", served / artifact.TAR_FILE)
    with server.serving(served, port, options.work_dir / "serve.log") as running:
        _say("3/3 Ask it")
        chosen = _choose_photos(photos)
        for photo, folder in chosen:
            _ask(running.url, photo, folder)
        if options.keep_serving:
            _serve_until_stopped(running, port, chosen[0][0])
    _say_done(options, metrics, served / artifact.TAR_FILE, time.monotonic() - started)


def _serve_until_stopped(running: server.RunningServer, port: int, photo: Path) -> None:
    post = f"curl -H 'Content-Type: image/jpeg' --data-binary '@{photo}'"
    with try_page(running.url, free_port(port + 1)) as page:
        print(
            f"\nServing on {running.url} until Ctrl-C. Try:"
            f"\n\n  {post} {running.url}/invocations\n\nor open {page} in a browser.",
            flush=True,
        )
        try:
            code = running.process.wait()
        except KeyboardInterrupt:
            return
    raise server.ServerFailedError(f"the server ended by itself with exit code {code}")


def _photos(options: DemoOptions) -> tuple[Path, dict[str, object]]:
    """Return the photos directory and the hyperparameters that suit it."""
    if options.photos is None:
        photos = options.work_dir / "photos"
        draw_sample(photos)
        return photos, {**_SAMPLE_HYPERPARAMETERS, **options.hyperparameters}
    photos = ensure_split(options.photos, options.work_dir / "photos")
    return photos, dict(options.hyperparameters)


def _weights(options: DemoOptions, hyperparameters: Mapping[str, object]) -> Path | None:
    """Return the weights file to start from, fetching ImageNet's where that is asked for."""
    if options.weights:
        if not options.weights.is_file():
            raise ModelError(f"expected a weights file, found none at {options.weights}")
        return options.weights
    if hyperparameters.get("weights", "imagenet") != "imagenet":
        return None
    model = str(hyperparameters.get("model", "resnet18"))
    try:
        return find_imagenet_weights(model)
    except ModelError:
        # Imported here because it takes torch's seconds.
        from dogbreeds.model.networks import fetch_imagenet_weights

        _say(f"Fetch the ImageNet weights of {model}")
        try:
            return fetch_imagenet_weights(model, options.work_dir / "weights")
        except OSError as error:
            raise ModelError(
                f"cannot download the ImageNet weights of {model} ({error}): give a file with"
                " WEIGHTS=FILE, or train from scratch with WEIGHTS=none"
            ) from error


def _choose_photos(photos: Path) -> list[tuple[Path, str]]:
    """Return test photos of different classes, and those, the same ones at every run."""
    _, splits = find_photos(find_roots(photos))
    split = splits.get("test") or splits["valid"]
    rng = random.Random(0)  # noqa: S311  (a choice of pictures, no secret)
    by_class: dict[str, list[Path]] = {}
    for photo, target in zip(split.paths, split.targets, strict=True):
        if isinstance(photo, Path):
            by_class.setdefault(split.classes[target], []).append(photo)
    chosen = rng.sample(list(by_class), min(_ASKED, len(by_class)))
    return [(rng.choice(by_class[name]), name) for name in chosen]


def _ask(url: str, photo: Path, folder: str) -> None:
    try:
        answer = server.predict(url, photo)
    except urllib.error.HTTPError as error:  # e.g. a broken photo among the user's own
        print(f"{photo}\n  refused: {error.code} {error.read().decode(errors='replace')}")
        return
    expected = parse_folder(folder)
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


def main(options: DemoOptions) -> int:
    """Run the demo and turn its errors into one line and an exit code."""
    try:
        run(options)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left running.", file=sys.stderr)
        return 130
    except (
        PhotosError,
        ModelError,
        artifact.ArtifactError,
        training.TrainingFailedError,
        server.ServerFailedError,
        OSError,
    ) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    return 0
