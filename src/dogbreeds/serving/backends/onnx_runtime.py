"""ONNX Runtime on the CPU: the fastest there, and with a fraction of PyTorch's memory."""

import importlib

import numpy as np
import numpy.typing as npt

from dogbreeds.serving.settings import ONNX_RUNTIME


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
        onnxruntime = importlib.import_module("onnxruntime")  # it has no types
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
