"""Float32 or int8: int8 is served where it is as good as float32, right here, and faster here."""

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from dogbreeds.model.golden_example import GoldenExample
from dogbreeds.model.graphs import Graph
from dogbreeds.model.onnx_runtime import FLOAT32, INT8
from dogbreeds.serving.backends.choice import BackendError, distance, seconds
from dogbreeds.serving.backends.onnx_runtime import OnnxRuntime
from dogbreeds.system.resources import int8_saturates

logger = logging.getLogger(__name__)

_MOST_LOST = 0.005
"""Of accuracy, against float32."""
_LEAST_AGREEMENT = 0.98
_TOLERANCES = {FLOAT32: 1e-3, INT8: 2e-2}
"""Of the golden example. In int8 one value that is rounded the other way moves a probability."""

Choice = tuple[OnnxRuntime, GoldenExample]
"""A backend, not started, and what it has to answer."""


def choose_precision(
    graphs: dict[str, Graph],
    pixels: npt.NDArray[np.uint8],
    threads: int,
    requested: str | None = None,
    saturates: Callable[[], bool] = int8_saturates,
) -> Choice:
    """Choose one of an artifact's graphs, and log why.

    Args:
        graphs: By precision; float32 is among them.
        pixels: The golden example's.
        threads: Of one forward pass.
        requested: A precision of `graphs`, whatever its accuracy and speed; None chooses int8 if
            the job measured it as good, the processor computes it right and it is faster.
        saturates: Tells whether this processor's 8-bit sums do.

    Raises:
        BackendError: int8 was requested, and does not answer the golden example here.
    """
    choices: dict[str, Choice] = {
        precision: (
            OnnxRuntime(graph.data, _TOLERANCES[precision]),
            GoldenExample(pixels, graph.probabilities),
        )
        for precision, graph in graphs.items()
    }
    if requested == FLOAT32 or INT8 not in graphs:
        reason = "requested" if requested else "the artifact has no int8 graph"
    elif requested is None and (lost := _loses_too_much(graphs)):
        reason = lost
    elif requested is None and saturates():
        reason = "this processor has no VNNI, and int8 sums saturate without it"
    else:
        reason = _try_int8(choices, threads, measured=requested is None)
        if reason and requested == INT8:
            raise BackendError(f"int8 was requested, but {reason}")
    logger.info("serving %s%s", FLOAT32 if reason else INT8, f": {reason}" if reason else "")
    return choices[FLOAT32 if reason else INT8]


def _loses_too_much(graphs: dict[str, Graph]) -> str:
    """Return why int8 is not good enough by the job's measurement; empty if it is."""
    int8, float32 = graphs[INT8], graphs[FLOAT32]
    split = "valid" if "valid" in int8.accuracy else "test"
    accuracies = int8.accuracy[split], float32.accuracy[split]
    if accuracies[0] < accuracies[1] - _MOST_LOST:
        return f"int8 has {accuracies[0]:.1%} accuracy on {split}, float32 {accuracies[1]:.1%}"
    if int8.agreement[split] < _LEAST_AGREEMENT:
        return f"int8 gives the same class on {int8.agreement[split]:.1%} of {split} only"
    return ""


def _try_int8(choices: dict[str, Choice], threads: int, *, measured: bool) -> str:
    """Return why int8 should not be used on this processor; empty if it should."""
    int8, golden_example = choices[INT8]
    candidates = {INT8: OnnxRuntime(int8.graph)}  # thrown away: threads do not outlive a fork
    candidates[INT8].start(threads)
    if not (found := distance(candidates[INT8], golden_example)) <= int8.tolerance:  # also nan
        return f"int8 answers the golden example {found:.2g} off here"
    if measured:
        candidates[FLOAT32] = OnnxRuntime(choices[FLOAT32][0].graph)
        candidates[FLOAT32].start(threads)
        times = {
            precision: seconds(backend, golden_example.pixels)
            for precision, backend in candidates.items()
        }
        ratio = times[FLOAT32] / times[INT8]
        if ratio <= 1:
            return f"int8 is {ratio:.2f} times as fast here"
        logger.info("int8 is %.2f times as fast as float32 here", ratio)
    return ""
