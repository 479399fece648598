"""ONNX Runtime on the CPU: the fastest there, and with a fraction of PyTorch's memory."""

import importlib
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from dogbreeds.serving.backends.choice import TelemetryError
from dogbreeds.serving.settings import NO_TELEMETRY, ONNX_RUNTIME


class OnnxRuntime:
    """Runs an ONNX graph.

    Args:
        graph: The model in ONNX, as `pytorch.to_onnx` writes it.
    """

    name = ONNX_RUNTIME
    tolerance = 1e-3

    def __init__(self, graph: bytes) -> None:
        self.graph = graph

    def start(self, threads: int) -> None:
        """See `Backend.start`."""
        onnxruntime = _import_without_telemetry()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # A thread that waits by spinning takes time from the Java front end and from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            self.graph, options, providers=["CPUExecutionProvider"]
        )

    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Backend.run`."""
        result: npt.NDArray[np.float32] = self._session.run(None, {"pixels": pixels})[0]
        return result


def _import_without_telemetry() -> Any:  # noqa: ANN401  (it has no types)
    """Import ONNX Runtime; nothing else may.

    Its telemetry is on by default since 1.32, and starts a thread while the library is loaded.

    Raises:
        TelemetryError: That thread runs, so this version ignores the switch.
    """
    os.environ.update(NO_TELEMETRY)
    threads = psutil.Process().num_threads()
    onnxruntime = importlib.import_module("onnxruntime")
    if psutil.Process().num_threads() > threads:
        raise TelemetryError(
            f"expected ONNX Runtime to start no thread when it is loaded with {NO_TELEMETRY}, but"
            f" {onnxruntime.__version__} starts one, which may be its telemetry: install 1.32"
        )
    return onnxruntime
