"""What runs a model: the interface of all engines, and how one of them is chosen.

The engines are in modules of their own: `onnx_runtime` for CPUs, `pytorch` for anything, `gpu` for
CUDA graphs. Measured with ``benchmarks/serving_backends.py``: on two cores ONNX Runtime takes about
0.7 of PyTorch's time for one photo, and far less where other processes share the cores.
"""

import logging
import time
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dogbreeds.model.golden_example import GoldenExample
from dogbreeds.model.onnx_runtime import TelemetryError
from dogbreeds.system.errors import DogbreedsError

logger = logging.getLogger(__name__)


class BackendError(DogbreedsError, RuntimeError):
    """The backend that was asked for cannot be had here."""


class Backend(Protocol):
    """An engine with a model in it.

    Attributes:
        name: A name of `settings.BACKENDS`.
        tolerance: How much a probability may differ from PyTorch's in float32 on a CPU.
    """

    name: str
    tolerance: float

    def start(self, threads: int) -> None:
        """Get ready to run, in the process that will: no pool of threads outlives a fork."""

    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return probabilities [N, classes] for pixels [N, S, S, 3]."""


def start(backends: list[Backend], threads: int, wanted: str | None = None) -> list[Backend]:
    """Start backends, and return those that run; the first has to.

    Args:
        backends: At least one.
        threads: Of one forward pass on the CPU.
        wanted: A name of `settings.BACKENDS`, which has to run.

    Raises:
        Exception: The first or the backend asked for does not start; as the engine raised it.
        TelemetryError: Any of them would report to its vendor.
    """
    started: list[Backend] = []
    for backend in backends:
        try:
            backend.start(threads)
        except Exception as error:  # engines raise many types
            if not started or backend.name == wanted or isinstance(error, TelemetryError):
                raise
            logger.warning("not running on %s: it does not start: %s", backend.name, error)
        else:
            started.append(backend)
    return started


def choose(
    backends: list[Backend], golden_example: GoldenExample, wanted: str | None = None
) -> Backend:
    """Return the fastest of started backends that answers the golden example as the training did.

    Args:
        backends: What `start` gave.
        golden_example: The artifact's.
        wanted: A name of `settings.BACKENDS`, which is taken if it agrees, fast or not.

    Raises:
        BackendError: None agrees.
    """
    agreeing = [backend for backend in backends if _agrees(backend, golden_example)]
    if not agreeing:
        raise BackendError(
            "the model does not give here what it gave when it was saved: expected probabilities"
            f" within {backends[0].tolerance:g}, got {distance(backends[0], golden_example):.2g}"
            f" apart on {backends[0].name}; serve it with the image of the version that trained it"
        )
    named = [backend for backend in agreeing if backend.name == wanted]
    candidates = named or agreeing
    if len(candidates) == 1:  # nothing to measure
        return candidates[0]
    return min(candidates, key=lambda backend: seconds(backend, golden_example.pixels))


def _agrees(backend: Backend, golden_example: GoldenExample) -> bool:
    difference = distance(backend, golden_example)
    if difference <= backend.tolerance:  # false also if it is no number
        return True
    logger.warning("not running on %s: it differs from training by %g", backend.name, difference)
    return False


def distance(backend: Backend, golden_example: GoldenExample) -> float:
    """Return how far a started backend is off at most, in probability."""
    return float(np.abs(backend.run(golden_example.pixels) - golden_example.probabilities).max())


def seconds(backend: Backend, pixels: npt.NDArray[np.uint8], budget: float = 0.3) -> float:
    """Return the shortest time of a few runs: other work on the machine only makes one longer."""
    times: list[float] = []
    while len(times) < 5 and sum(times) < budget:
        begin = time.perf_counter()
        backend.run(pixels)
        times.append(time.perf_counter() - begin)
    return min(times)
