"""The demo: train, pack, serve and predict, on one machine with nothing but Python."""

import json
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from dogbreeds.data.folders import find_photos, find_roots
from dogbreeds.data.sample import draw_sample
from dogbreeds.local import server, training
from dogbreeds.model.classes import parse_folder
from dogbreeds.system.ports import check_port, free_port

# Random weights learn the drawn sample, at a size where a step takes milliseconds.
_SAMPLE_HYPERPARAMETERS = {"weights": "none", "image_size": 64, "epochs": 8, "lr": 0.003}
_POSTED = 3  # photos that are posted


def run(
    out: Path, photos: Path | None, weights: str | None, hyperparameters: Mapping[str, object],
    port: int | None, keep_serving: bool,
) -> None:  # fmt: skip
    """Run the demo; every process it started has ended when it returns or raises.

    `photos` None draws the sample, `port` None is any free port; the other arguments are those of
    `training.train`. `keep_serving` serves until Ctrl-C after the predictions are printed. Errors
    are those of `training.train` and `server.serving`; Ctrl-C and SIGTERM raise KeyboardInterrupt.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    port = free_port(18080) if port is None else port
    check_port(port, server.HIGHEST_PORT)
    if drawn := photos is None:
        photos = out / "photos"
        shutil.rmtree(photos, ignore_errors=True)
        draw_sample(photos)
        hyperparameters = {**_SAMPLE_HYPERPARAMETERS, **hyperparameters}

    print("\n== 1/3 Train with sagemaker-training's `train`", flush=True)
    tar = training.train(photos, out, hyperparameters, weights)

    print("\n== 2/3 Start the model server", flush=True)
    with server.serving(tar, port, out / "serve.log") as running:
        print("\n== 3/3 Ask it", flush=True)
        chosen = _choose_photos(out / "opt-ml" / "input" / "data")
        for photo, folder in chosen:
            _ask(running.url, photo, folder)
        if keep_serving:
            server.serve_until_stopped(running, port, [photo for photo, _ in chosen])
    print(f"\nDone in {time.monotonic() - started:.0f} s: {training.summary(out)}\n\nNext:")
    print("  make serve-demo                     leave the server running, with a curl line to try")
    if drawn:
        print("  make demo DATA=path/to/dogImages    the same on real photos")
    print("  make build FLAVOR=cpu               the same job as container images", flush=True)


def _choose_photos(channels: Path) -> list[tuple[Path, str]]:
    """Return test photos of different classes with their folders' names, the same in every run."""
    _, splits = find_photos(find_roots(channels))
    split = splits.get("test") or splits["valid"]
    photos = dict(zip(map(split.classes.__getitem__, split.targets), split.paths, strict=True))
    files = [(photo.resolve(), name) for name, photo in photos.items() if isinstance(photo, Path)]
    return files[-_POSTED:]


def _ask(url: str, photo: Path, folder: str) -> None:
    expected = parse_folder(folder)
    try:
        answer = json.dumps(server.predict(url, photo))
        print(f"{photo}  (is {expected.label} {expected.name})\n  {answer}")
    except server.RefusedError as error:  # e.g. a user's photo is broken
        print(error)
