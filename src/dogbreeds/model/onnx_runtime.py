"""ONNX Runtime on the CPU: the only module that imports it, in jobs and servers alike."""

import importlib
import os
from typing import TYPE_CHECKING, Any

from dogbreeds.system.errors import DogbreedsError

if TYPE_CHECKING:  # the server process itself needs neither
    import numpy as np
    import numpy.typing as npt

FLOAT32, INT8 = PRECISIONS = ("float32", "int8")
"""Data types that a graph computes in."""
NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}
"""Environment variables that stop ONNX Runtime from reporting to Microsoft; read on import."""


class TelemetryError(DogbreedsError, RuntimeError):
    """An engine may send telemetry: no engine may serve in this process."""


def import_onnxruntime() -> Any:  # noqa: ANN401  (it has no types)
    """Import ONNX Runtime; nothing else may.

    Its telemetry is on by default since 1.32, and starts a thread on import: TelemetryError if so.
    """
    import numpy  # noqa: F401  (its threads start here, not below)
    import psutil

    os.environ.update(NO_TELEMETRY)
    threads = psutil.Process().num_threads()
    onnxruntime = importlib.import_module("onnxruntime")
    if psutil.Process().num_threads() > threads:
        raise TelemetryError(
            f"expected ONNX Runtime to start no thread when it is loaded with {NO_TELEMETRY}, but"
            f" {onnxruntime.__version__} starts one, which may be its telemetry: install 1.32"
        )
    return onnxruntime


class Session:
    """An ONNX graph that is ready to run on `threads` intra-op threads.

    Operators are fused if `optimized`; otherwise, an int8 graph is computed in float32 and rounded
    to 8 bits after each operator.
    """

    def __init__(self, graph: bytes, threads: int, *, optimized: bool = True) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Spinning threads would take CPU time from the Java front end and from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(graph, options, providers=providers)
        self._session._model_bytes = None  # kept for other providers to fall back to

    def run(self, pixels: "npt.NDArray[np.uint8]") -> "npt.NDArray[np.float32]":
        """Return probabilities [N, C] for pixels [N, S, S, 3]."""
        result: npt.NDArray[np.float32] = self._session.run(None, {"pixels": pixels})[0]
        return result
