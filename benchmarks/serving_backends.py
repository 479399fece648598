"""Photos per second of a model's forward pass on each backend, by batch size.

    python benchmarks/serving_backends.py [ARCHITECTURE ...] [--threads N]

The backends take turns, and the best and the median of many runs are given, because other work on
the machine only ever makes a run slower.
"""

import argparse
import csv
import statistics
import sys
import time

import numpy as np
import torch

from dogbreeds import models
from dogbreeds.artifact import Artifact
from dogbreeds.images import Preprocessing
from dogbreeds.labels import Breed
from dogbreeds.serving.backends import Backend, BackendError, OnnxRuntime, PyTorch
from dogbreeds.serving.resources import available_cpus


def main() -> None:
    """Measure and write a table to standard output."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("architectures", nargs="*", default=["resnet18", "mobilenet_v2"])
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    writer = csv.writer(sys.stdout)
    header = ["architecture", "backend", "threads", "batch", "best_per_second", "median_per_second"]
    writer.writerow(header)
    torch.manual_seed(0)
    for architecture in options.architectures:
        classes = tuple(Breed(f"{number:03d}", "") for number in range(133))
        model = models.create_model(architecture, len(classes)).eval()
        model = model.to(memory_format=torch.channels_last)
        artifact = Artifact(model, architecture, classes, Preprocessing())
        backends: list[Backend] = [PyTorch(artifact, torch.device("cpu"))]
        try:
            backends.append(OnnxRuntime(artifact))
        except BackendError as error:
            print(f"# {error}", file=sys.stderr)
        for backend in backends:
            backend.start(options.threads)
        for batch in (1, 2, 4, 8):
            pixels = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8)
            seconds: dict[str, list[float]] = {backend.name: [] for backend in backends}
            for _ in range(options.runs):
                for backend in backends:
                    begin = time.perf_counter()
                    backend.run(pixels)
                    seconds[backend.name].append(time.perf_counter() - begin)
            for name, times in seconds.items():
                rates = f"{batch / min(times):.1f}", f"{batch / statistics.median(times):.1f}"
                writer.writerow([architecture, name, options.threads, batch, *rates])


if __name__ == "__main__":
    main()
