"""ONNX Runtime on the CPU: the fastest backend there, with a fraction of PyTorch's memory."""

import numpy as np
import numpy.typing as npt

from dogbreeds.model.onnx_runtime import Session
from dogbreeds.serving.settings import ONNX_RUNTIME


class OnnxRuntime:
    """Runs an ONNX graph.

    Args:
        graph: The model in ONNX, as written by `onnx_export.to_onnx`.
        tolerance: See `Backend`.
    """

    name = ONNX_RUNTIME

    def __init__(self, graph: bytes, tolerance: float = 1e-3) -> None:
        self.graph = graph
        self.tolerance = tolerance

    def start(self, threads: int) -> None:
        """See `Backend.start`."""
        self._session = Session(self.graph, threads)

    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Backend.run`."""
        return self._session.run(pixels)
