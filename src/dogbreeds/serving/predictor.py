"""From a batch of pixels to probabilities, on the fastest backend that agrees with training.

By ``benchmarks/serving_backends.py`` ONNX Runtime takes about 0.7 of PyTorch's time per photo on
two cores, and far less where other processes share the cores.
"""

import logging
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dogbreeds.model.document import Description, GoldenExample
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.resources import give_back_memory

MAX_BATCH = 16
"""Larger batches are split: they cost memory and are no faster."""

logger = logging.getLogger(__name__)


class BackendError(DogbreedsError, RuntimeError):
    """The requested backend is not available, or no backend reproduces the golden example."""


class Backend(Protocol):
    """An engine that holds a model."""

    name: str  # one of `settings.BACKENDS`
    tolerance: float  # largest allowed difference of a probability from PyTorch's float32 on a CPU

    def start(self, threads: int) -> None:
        """Prepare to run in the calling process: thread pools do not survive a fork."""

    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return probabilities [N, classes] for pixels [N, S, S, 3]."""


@dataclass(eq=False)
class Predictor:
    """Runs the model of an artifact."""

    description: Description  # with a golden example
    candidates: list[Backend]  # with the model, not started
    threads: int  # per forward pass on the CPU
    requested: str | None = None  # one of `settings.BACKENDS`; None: the fastest that works

    def start(self) -> None:
        """Start, and `choose`, a backend in the process that will predict.

        BackendError if none reproduces the golden example.
        """
        self.candidates = start(self.candidates, self.threads, self.requested)
        golden_example = self.description.golden_example
        assert golden_example is not None  # the loader makes one for older artifacts  # noqa: S101
        self.backend = choose(self.candidates, golden_example, self.requested)
        self.candidates = [self.backend]
        give_back_memory()  # that of the others
        version, name = self.description.version, self.backend.name
        logger.info("ready: model %s on %s, %d threads", version, name, self.threads)

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return probabilities [N, classes], rows of sum 1, for pixels [N, S, S, 3]."""
        starts = range(0, len(pixels), MAX_BATCH)
        return np.concatenate([self.backend.run(pixels[i : i + MAX_BATCH]) for i in starts])


def start(backends: list[Backend], threads: int, requested: str | None = None) -> list[Backend]:
    """Start backends and return those that run.

    The first and the requested one must: what the engine raises is raised.
    """
    started: list[Backend] = []
    for backend in backends:
        try:
            backend.start(threads)
        except Exception as error:  # engines raise many types
            if not started or backend.name == requested:
                raise
            logger.warning("not running on %s: it does not start: %s", backend.name, error)
        else:
            started.append(backend)
    return started


def choose(
    backends: list[Backend], golden_example: GoldenExample, requested: str | None = None
) -> Backend:
    """Return the fastest started backend that reproduces the golden example.

    The requested one, of `settings.BACKENDS`, is preferred if it agrees, whatever its speed.
    BackendError if none agrees.
    """
    agreeing: list[Backend] = []
    differences = [distance(backend, golden_example) for backend in backends]
    for backend, difference in zip(backends, differences, strict=True):
        if difference <= backend.tolerance:  # false for NaN too
            agreeing.append(backend)
        else:
            logger.warning(
                "not running on %s: differs from training by %g", backend.name, difference
            )
    if not agreeing:
        raise BackendError(
            "the model does not give here what it gave when it was saved: expected probabilities"
            f" within {backends[0].tolerance:g}, got {differences[0]:.2g} apart on"
            f" {backends[0].name}; serve it with the image of the version that trained it"
        )
    candidates = [backend for backend in agreeing if backend.name == requested] or agreeing
    if len(candidates) == 1:  # skip the measurement
        return candidates[0]
    return min(candidates, key=lambda backend: seconds(backend, golden_example.pixels))


def distance(backend: Backend, golden_example: GoldenExample) -> float:
    """Return the largest error of a started backend, in probability."""
    return float(np.abs(backend.run(golden_example.pixels) - golden_example.probabilities).max())


def seconds(backend: Backend, pixels: npt.NDArray[np.uint8]) -> float:
    """Return the shortest time of up to 5 runs: other load only makes a run longer."""
    times: list[float] = []
    while len(times) < 5 and sum(times) < 0.3:
        begin = time.perf_counter()
        backend.run(pixels)
        times.append(time.perf_counter() - begin)
    return min(times)
