"""Photos per second of a model's forward pass on each backend, by batch size.

    python benchmarks/serving_backends.py [ARCHITECTURE ...] [--device cuda] [--output FILE.csv]

It justifies the defaults of ``serving/settings.py``: which backend, and how many requests a worker
takes at a time. ``gain`` is the backend's rate relative to its own rate for one photo at a time.
The backends take turns, and the best and the median of many runs are given, because other work on
the machine only ever makes a run slower.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from environment import write_csv

from dogbreeds.model import networks
from dogbreeds.model.artifact import Artifact
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.onnx_export import to_onnx
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.serving.backends.onnx_runtime import OnnxRuntime
from dogbreeds.serving.backends.pytorch import candidates
from dogbreeds.system.resources import available_cpus


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("architectures", nargs="*", default=["resnet18", "mobilenet_v2"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--output", type=Path, help="CSV; standard output if not given")
    options = parser.parse_args()
    device = torch.device(options.device)
    columns = ["backend", "batch", "best_per_second", "median_per_second", "gain"]
    torch.manual_seed(0)
    rows = [
        {"architecture": architecture, **dict(zip(columns, row, strict=True)),
         "threads": options.threads}
        for architecture in options.architectures
        for row in measure(architecture, device, options.threads, options.runs)
    ]  # fmt: skip
    with options.output.open("w") if options.output else sys.stdout as output:
        write_csv(rows, output, device=device.type)


def measure(
    architecture: str, device: torch.device, threads: int, runs: int
) -> list[tuple[str, int, str, str, str]]:
    """Return for each backend and batch size its rates."""
    classes = tuple(PhotoClass(f"{number:03d}", "") for number in range(133))
    model = networks.create_model(architecture, len(classes)).eval()
    model = model.to(memory_format=torch.channels_last)
    artifact = Artifact(model, architecture, classes, Preprocessing())
    found = candidates(artifact, device, None)
    if device.type == "cpu":
        found.append(OnnxRuntime(to_onnx(artifact)))
    backends = {backend.name: backend for backend in reversed(found)}  # the first of a name
    for backend in backends.values():
        backend.start(threads)
    rows = []
    for batch in (1, 2, 4, 8, 16):
        pixels = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8)
        seconds: dict[str, list[float]] = {name: [] for name in backends}
        for _ in range(runs + 1):
            for name, backend in backends.items():
                begin = time.perf_counter()
                backend.run(pixels)
                seconds[name].append(time.perf_counter() - begin)
        for name, (_, *times) in seconds.items():  # the first run is the warm-up
            rows.append((name, batch, batch / min(times), batch / statistics.median(times)))
    alone = {name: best for name, batch, best, _ in rows if batch == 1}
    return [
        (name, batch, f"{best:.1f}", f"{median:.1f}", f"{best / alone[name]:.2f}")
        for name, batch, best, median in rows
    ]


if __name__ == "__main__":
    main()
