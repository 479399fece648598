"""Engines that run a model: PyTorch anywhere, ONNX Runtime where it is faster.

Measured with ``benchmarks/serving_backends.py``: on two AVX2 cores ONNX Runtime takes about 0.65 of
PyTorch's time for one photo, and far less where other processes share the cores. It converts each
torchvision classifier tried (ResNet to Swin and MaxViT) in 0.1 to 3 s.
"""

import importlib
import importlib.util
import tempfile
import warnings
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dogbreeds.artifact import Artifact
from dogbreeds.serving.settings import BACKENDS

PYTORCH, ONNX_RUNTIME = BACKENDS


class BackendError(RuntimeError):
    """The backend that was asked for cannot be had here."""


class Backend(Protocol):
    """An engine with a model in it."""

    name: str

    def start(self, threads: int) -> None:
        """Get ready to run, in the process that will: no pool of threads outlives a fork."""

    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return probabilities [N, classes] for pixels [N, S, S, 3]."""


class _Pipeline(nn.Module):
    """From pixels to probabilities, so that every backend does the same as one graph."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__()
        self._model = artifact.model
        self._preprocessing = artifact.preprocessing

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model(self._preprocessing.normalize(pixels))
        return logits.float().softmax(1)


class PyTorch:
    """PyTorch as it is, channels-last.

    Args:
        artifact: The archive with the model.
        device: Where to run.
    """

    name = PYTORCH

    def __init__(self, artifact: Artifact, device: torch.device) -> None:
        self._pipeline = _Pipeline(artifact)
        self._device = device

    def start(self, threads: int) -> None:
        """See `Backend.start`."""
        torch.set_num_threads(threads)
        self._pipeline.to(self._device)

    @torch.inference_mode()
    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Backend.run`."""
        result: npt.NDArray[np.float32] = (
            self._pipeline(torch.from_numpy(pixels).to(self._device)).cpu().numpy()
        )
        return result


class OnnxRuntime:
    """ONNX Runtime on the CPU.

    Args:
        artifact: The archive with the model, which is converted here.

    Raises:
        BackendError: The packages onnx and onnxruntime are not there, or the model cannot be
            converted.
    """

    name = ONNX_RUNTIME

    def __init__(self, artifact: Artifact) -> None:
        if not (importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx")):
            raise BackendError("the packages onnxruntime and onnx are not installed")
        side = artifact.preprocessing.image_size
        example = torch.zeros(1, side, side, 3, dtype=torch.uint8)
        try:
            with (
                tempfile.NamedTemporaryFile(suffix=".onnx") as file,
                warnings.catch_warnings(),
                torch.no_grad(),
            ):
                warnings.simplefilter("ignore")  # the tracer's, about constants that are ones
                torch.onnx.export(
                    _Pipeline(artifact).eval(),
                    (example,),
                    file.name,
                    input_names=["pixels"],
                    output_names=["probabilities"],
                    dynamic_axes={"pixels": {0: "batch"}, "probabilities": {0: "batch"}},
                    dynamo=False,  # ten times as fast as the newer exporter
                )
                self._graph = file.read()
        except Exception as error:  # the exporter raises many types
            raise BackendError(f"the model cannot be converted to ONNX: {error}") from error

    def start(self, threads: int) -> None:
        """See `Backend.start`."""
        onnxruntime = importlib.import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # A thread that waits by spinning takes time from the Java front end and from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            self._graph, options, providers=["CPUExecutionProvider"]
        )

    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Backend.run`."""
        result: npt.NDArray[np.float32] = self._session.run(None, {"pixels": pixels})[0]
        return result
