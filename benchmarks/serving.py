"""Requests per second, latency and cost: our server, others, and the bare loop.

    python benchmarks/serving.py [MODEL_DIR] [--quick] [--servers ours ...] [--output FILE.csv]

All run on this machine in turns, over the same archive and the same photos; without MODEL_DIR over
a ResNet-18 of random weights. ``stock`` is multi-model-server with sagemaker-inference's default
handler, one worker of as many threads as processors. TorchServe, LitServe and Ray Serve are
installed for the while. Each runs as it comes and (``-best``) at its best, see
``serving_peers.py``. ``bare`` is decoding and forward pass in one process, without HTTP: what the
hardware gives. Both it and ``ours`` choose their precision; ``bare-int8``, ``ours-float32`` and so
on are told. It takes about a quarter of an hour on two cores, which should have nothing else to do:
load falsifies the ratios.
"""

import argparse
import base64
import contextlib
import functools
import http.client
import io
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import psutil
import torch
from environment import write_csv
from PIL import Image
from serving_peers import BATCH_SIZES, Server, install_peers, servers

from dogbreeds.data.pixels import DecodedSplit, SharedArray
from dogbreeds.entrypoint.graphs import add_graphs
from dogbreeds.local.benchmark import Call, load, measure
from dogbreeds.model import artifact, networks
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.serving import loading
from dogbreeds.system.resources import available_cpus
from dogbreeds.training.device import Device, PixelStore

PORT = 18_181
PEERS = [name + best for name in ("torchserve", "litserve", "rayserve") for best in ("", "-best")]
SERVERS = ["bare", "bare-float32", "ours", "ours-float32", "stock", "stock-best", *PEERS]
EXTRA = ["ours-pytorch", "bare-int8", "ours-int8", *(f"ours-batch-{size}" for size in BATCH_SIZES)]
SIZES = {"500x375": (500, 375), "4000x3000": (4000, 3000)}

Row = tuple[str, str, int]  # server, photo, concurrency


def photo(width: int, height: int) -> bytes:
    """Return a JPEG with as much detail as a photo has, about 0.25 bytes a pixel."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


@contextlib.contextmanager
def started(server: Server, body: bytes) -> Iterator[psutil.Process]:
    """Run a server until the block ends; ready when an invocation is answered."""
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            server.command,
            env={**os.environ, **server.environment},
            cwd=folder,  # for what TorchServe leaves where it runs
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        root = psutil.Process(process.pid)
        try:
            begin = time.monotonic()
            while True:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    if send(connect(), server, body) == 200:
                        break
                if process.poll() is not None or time.monotonic() - begin > 90:
                    log.seek(0)
                    raise RuntimeError(f"not started: {log.read().decode()[-3000:]}")
                time.sleep(0.1)
            yield root
        finally:
            family = tree(root)  # by session: Ray's workers have process groups of their own
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            process.wait()


def connect() -> http.client.HTTPConnection:
    """Return a connection to the server; it connects with the first request."""
    return http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)


def send(connection: http.client.HTTPConnection, server: Server, body: bytes) -> int:
    """Send one request and return its status."""
    content_type = "application/json" if server.as_json else "image/jpeg"
    connection.request("POST", server.path, body, {"Content-Type": content_type})
    response = connection.getresponse()
    response.read()
    return response.status


def over_http(server: Server, body: bytes) -> Callable[[], Call]:
    """Return what gives each client of `load` a connection of its own."""

    def make_call() -> Call:
        connection = connect()

        def call() -> None:
            status = send(connection, server, body)
            if status != 200:
                raise RuntimeError(f"expected 200, got {status}")

        return call

    return make_call


def bare(
    model_dir: Path, cpus: int, precision: str | None
) -> Callable[[bytes], Callable[[], Call]]:
    """Return the same as `over_http`, in this process and without HTTP."""
    predictor = loading.load(model_dir, None, cpus, precision=precision)
    predictor.start()
    preprocessing = predictor.description.preprocessing

    def for_photo(body: bytes) -> Callable[[], Call]:
        def call() -> None:
            predictor.predict(preprocessing.read_pixels(body)[None])

        return lambda: call

    return for_photo


def tree(server: psutil.Process) -> list[psutil.Process]:
    """Return a server's processes: its descendants, and those of its session that left it."""
    found = {server}
    with contextlib.suppress(psutil.NoSuchProcess):
        found.update(server.children(recursive=True))
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if os.getsid(process.pid) == server.pid:
                found.add(process)
    return list(found)


def rounds(
    options: argparse.Namespace, known: dict[str, Server], model_dir: Path, cpus: int
) -> Iterator[tuple[Row, dict[str, float]]]:
    """Measure all servers in turns, and tell of each result on standard error."""
    photos = {name: photo(*SIZES[name]) for name in options.sizes}
    for number, name in itertools.product(range(options.rounds), options.servers):
        with contextlib.ExitStack() as running:
            server = known.get(name)
            calls: Callable[[bytes], Callable[[], Call]]
            if server is None:
                precision = name.removeprefix("bare").removeprefix("-") or None
                calls, family = bare(model_dir, cpus, precision), lambda: [psutil.Process()]
            else:
                first = as_sent(photo(64, 64), server)
                family = functools.partial(tree, running.enter_context(started(server, first)))
                calls = functools.partial(over_http, server)
                # A Java machine compiles what was called often.
                load(calls(as_sent(next(iter(photos.values())), server)), 16, options.seconds / 2)
            for size, body in photos.items():
                for concurrency in options.concurrency if server else [1]:
                    call = calls(as_sent(body, server) if server else body)
                    found = measure(call, concurrency, options.seconds, family)
                    shown = ", ".join(f"{key} {value:.1f}" for key, value in found.items())
                    print(f"{number} {name} {size} {concurrency}: {shown}", file=sys.stderr)
                    yield (name, size, concurrency), found


def as_sent(body: bytes, server: Server) -> bytes:
    """Return the body of a request with this photo."""
    if not server.as_json:
        return body
    return json.dumps({"image": base64.b64encode(body).decode()}).encode()


def write_table(
    results: dict[Row, list[dict[str, float]]], conditions: dict[str, object], file: TextIO
) -> None:
    """Write the medians over all rounds, and what each is of the bare loop and ours of it."""
    medians = {
        row: {key: statistics.median(found[key] for found in founds) for key in founds[0]}
        for row, founds in results.items()
    }
    columns = list(next(iter(medians.values())))
    rows: list[dict[str, object]] = []
    for (name, size, concurrency), found in medians.items():
        own_loop = medians.get((name.replace("ours", "bare"), size, 1)) if "ours" in name else None
        loop = own_loop or medians.get(("bare", size, 1))
        own = medians.get(("ours", size, concurrency))
        ratios = {
            "of_bare": found["per_second"] / loop["per_second"] if loop else None,
            "ms_over_bare": (
                found["median_ms"] - loop["median_ms"] if loop and concurrency == 1 else None
            ),
            "ours_by_this": own["per_second"] / found["per_second"] if own else None,
        }
        rows.append(
            {"server": name, "photo": size, "concurrency": concurrency}
            | {key: f"{found[key]:.1f}" for key in columns}
            | {key: "" if value is None else f"{value:.2f}" for key, value in ratios.items()}
            | conditions
        )
    write_csv(rows, file, device="cpu")


def save_resnet18(folder: Path) -> Path:
    """Write an archive of a ResNet-18 of 133 classes with random weights; return its folder."""
    classes = tuple(PhotoClass(f"{number:03d}", "") for number in range(133))
    model = networks.create_model("resnet18", len(classes))
    preprocessing = Preprocessing()
    artifact.save(artifact.Artifact(model, "resnet18", classes, preprocessing), folder)
    pixels = np.stack([preprocessing.read_pixels(photo(*SIZES["500x375"]))] * 8)
    targets = np.zeros(len(pixels), np.int64)
    paths = tuple(Path(f"{number}.jpg") for number in range(len(pixels)))
    split = DecodedSplit("", SharedArray(pixels, ""), targets, paths, (), ())
    store = PixelStore(split, preprocessing, Device(torch.device("cpu"), None))
    add_graphs(folder, {"train": store, "valid": store}, quantize=True)
    return folder


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("model_dir", type=Path, nargs="?")
    parser.add_argument("--servers", nargs="+", choices=SERVERS + EXTRA, default=SERVERS)
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=[*SIZES])
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2, help="over all servers")
    parser.add_argument("--quick", action="store_true", help="one round of short measurements")
    parser.add_argument("--output", type=Path, help="CSV; standard output if not given")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 1.5, 1
    cpus = available_cpus()
    with tempfile.TemporaryDirectory(prefix="dogbreeds-benchmark-") as temporary:
        folder = Path(temporary)
        model_dir = (options.model_dir or save_resnet18(folder / "resnet18")).resolve()
        peers = folder / "peers/bin"
        if set(PEERS) & set(options.servers):
            install_peers(folder / "peers")
        load_before = os.getloadavg()[0]
        conditions = {
            "architecture": artifact.read_document(model_dir)["architecture"],
            "rounds": options.rounds, "load_before": f"{load_before:.1f}",
        }  # fmt: skip
        results: dict[Row, list[dict[str, float]]] = {}
        known = servers(folder, model_dir, PORT, cpus, peers)
        try:
            for row, found in rounds(options, known, model_dir, cpus):
                results.setdefault(row, []).append(found)
        finally:  # what there is, should it be stopped
            if results:
                with options.output.open("w") if options.output else sys.stdout as file:
                    write_table(results, conditions, file)


if __name__ == "__main__":
    main()
