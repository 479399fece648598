"""ONNX Runtime on the CPU, the fastest backend there: in int8 if that is accurate and faster."""

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from dogbreeds.model.document import GoldenExample
from dogbreeds.model.graphs import Graph
from dogbreeds.model.onnx_runtime import FLOAT32, INT8, Session
from dogbreeds.serving.predictor import BackendError, distance, seconds
from dogbreeds.serving.settings import ONNX_RUNTIME
from dogbreeds.system.resources import int8_saturates

logger = logging.getLogger(__name__)

_MAX_ACCURACY_LOSS = 0.005
_MIN_AGREEMENT = 0.98
# In int8 a single value that is rounded differently changes a probability.
_TOLERANCES = {FLOAT32: 1e-3, INT8: 2e-2}


class OnnxRuntime:
    """Runs an ONNX graph, as written by `onnx_export.to_onnx`; see `Backend`."""

    name = ONNX_RUNTIME

    def __init__(self, graph: bytes, tolerance: float = 1e-3) -> None:
        self.graph, self.tolerance = graph, tolerance

    def start(self, threads: int) -> None:
        """See `Backend.start`."""
        self._session = Session(self.graph, threads)
        del self.graph  # the session has its own copy of the weights

    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Backend.run`."""
        return self._session.run(pixels)


def choose_precision(
    graphs: dict[str, Graph],
    pixels: npt.NDArray[np.uint8],
    threads: int,
    requested: str | None = None,
    saturates: Callable[[], bool] = int8_saturates,
) -> tuple[OnnxRuntime, GoldenExample]:
    """Choose one of an artifact's graphs, which are given by precision, and log why.

    A `requested` precision is chosen whatever its accuracy and speed; None chooses int8 if the job
    measured it as accurate, 8-bit sums do not saturate on this processor and it is faster. `pixels`
    are the golden example's, and `threads` are those of a forward pass. The result is a backend,
    not started, and the golden example that it must reproduce. BackendError if int8 was requested,
    and does not reproduce it here.
    """

    def backend(precision: str) -> OnnxRuntime:
        return OnnxRuntime(graphs[precision].data, _TOLERANCES[precision])

    if requested == FLOAT32 or INT8 not in graphs:
        reason = "requested" if requested else "the artifact has no int8 graph"
    elif requested is None and (loss := _accuracy_loss(graphs)):
        reason = loss
    elif requested is None and saturates():
        reason = "this processor has no VNNI, and int8 sums saturate without it"
    else:
        # Try backends that are then discarded: their threads do not survive a fork.
        int8, golden_example = backend(INT8), GoldenExample(pixels, graphs[INT8].probabilities)
        float32 = backend(FLOAT32) if requested is None else None
        reason = _try_int8(int8, float32, golden_example, threads)
        if reason and requested == INT8:
            raise BackendError(f"int8 was requested, but {reason}")
    precision = FLOAT32 if reason else INT8
    logger.info("serving %s%s", precision, f": {reason}" if reason else "")
    return backend(precision), GoldenExample(pixels, graphs[precision].probabilities)


def _accuracy_loss(graphs: dict[str, Graph]) -> str:
    """Return why int8 is not accurate enough by the job's measurement; empty if it is."""
    int8, float32 = graphs[INT8], graphs[FLOAT32]
    split = "valid" if "valid" in int8.accuracy else "test"
    accuracies = int8.accuracy[split], float32.accuracy[split]
    if accuracies[0] < accuracies[1] - _MAX_ACCURACY_LOSS:
        return f"int8 has {accuracies[0]:.1%} accuracy on {split}, float32 {accuracies[1]:.1%}"
    if int8.agreement[split] < _MIN_AGREEMENT:
        return f"int8 gives the same class on {int8.agreement[split]:.1%} of {split} only"
    return ""


def _try_int8(
    int8: OnnxRuntime, float32: OnnxRuntime | None, golden_example: GoldenExample, threads: int
) -> str:
    """Return why int8 should not be used on this processor; empty if it should."""
    int8.start(threads)
    if not (found := distance(int8, golden_example)) <= int8.tolerance:  # NaN fails too
        return f"int8 answers the golden example {found:.2g} off here"
    if float32:
        float32.start(threads)
        ratio = seconds(float32, golden_example.pixels) / seconds(int8, golden_example.pixels)
        if ratio <= 1:
            return f"int8 is {ratio:.2f} times as fast here"
        logger.info("int8 is %.2f times as fast as float32 here", ratio)
    return ""
