"""ONNX Runtime on the CPU: the one place that loads it, in jobs and servers alike."""

import importlib
import os
from typing import Any

import numpy as np
import numpy.typing as npt

NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}
"""Variables without which ONNX Runtime reports to Microsoft; it reads them when it is loaded."""


def import_onnxruntime() -> Any:  # noqa: ANN401  (it has no types)
    """Import ONNX Runtime without its telemetry; nothing else may import it."""
    os.environ.update(NO_TELEMETRY)
    return importlib.import_module("onnxruntime")


class Session:
    """A graph that is ready to run.

    Args:
        graph: The ONNX file.
        threads: Of one forward pass.
        optimized: Whether operators may be fused; if not, a graph of int8 is computed in float32,
            rounded to 8 bits after each operator.
    """

    def __init__(self, graph: bytes, threads: int, *, optimized: bool = True) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # A thread that waits by spinning takes time from the Java front end and from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )

    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return probabilities [N, C] for pixels [N, S, S, 3]."""
        result: npt.NDArray[np.float32] = self._session.run(None, {"pixels": pixels})[0]
        return result
