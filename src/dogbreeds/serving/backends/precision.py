"""Float32 or int8: int8 is served where it is as good as float32, right here, and faster here."""

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dogbreeds.model.golden_example import GoldenExample
from dogbreeds.model.graphs import FLOAT32, INT8, Graph
from dogbreeds.serving.backends.choice import BackendError, distance, seconds
from dogbreeds.serving.backends.onnx_runtime import OnnxRuntime

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
    cpuinfo: Path = Path("/proc/cpuinfo"),
) -> Choice:
    """Choose one of an artifact's graphs, and log why.

    Args:
        graphs: By precision; float32 is among them.
        pixels: The golden example's.
        threads: Of one forward pass.
        requested: A precision of `graphs`, whatever its accuracy and speed; None chooses int8 if
            the job measured it as good, it answers the golden example and it is faster.
        cpuinfo: Linux's description of the processor.

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
    else:
        reason = _try_int8(choices, threads, measured=requested is None, cpuinfo=cpuinfo)
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


def _try_int8(choices: dict[str, Choice], threads: int, *, measured: bool, cpuinfo: Path) -> str:
    """Return why int8 should not be used on this processor; empty if it should."""
    int8, golden_example = choices[INT8]
    processor = f"this processor {'with' if has_vnni(cpuinfo) else 'without'} VNNI"
    candidates = {INT8: OnnxRuntime(int8.graph)}  # thrown away: threads do not outlive a fork
    candidates[INT8].start(threads)
    if not (found := distance(candidates[INT8], golden_example)) <= int8.tolerance:  # also nan
        return f"int8 answers the golden example {found:.2g} off on {processor}"
    if measured:
        candidates[FLOAT32] = OnnxRuntime(choices[FLOAT32][0].graph)
        candidates[FLOAT32].start(threads)
        times = {
            precision: seconds(backend, golden_example.pixels)
            for precision, backend in candidates.items()
        }
        ratio = times[FLOAT32] / times[INT8]
        if ratio <= 1:
            return f"int8 is {ratio:.2f} times as fast on {processor}"
        logger.info("int8 is %.2f times as fast as float32 on %s", ratio, processor)
    return ""


def has_vnni(cpuinfo: Path) -> bool:
    """Tell whether the processor has instructions that multiply and add 8-bit numbers.

    Source: the flags of x86 processors in Linux's ``arch/x86/include/asm/cpufeatures.h``.
    """
    try:
        flags = cpuinfo.read_text().split()
    except OSError:  # not Linux
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags
