"""Engines that run a model: PyTorch anywhere, ONNX Runtime on CPUs, CUDA graphs on GPUs.

Measured with ``benchmarks/serving_backends.py``: on two cores ONNX Runtime takes about 0.7 of
PyTorch's time for one photo, and far less where other processes share the cores. It converts each
torchvision classifier tried (ResNet to Swin and MaxViT) in 0.1 to 3 s.
"""

import importlib
import importlib.util
import logging
import tempfile
import time
import warnings
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from dogbreeds.artifact import Artifact, Probe
from dogbreeds.pipeline import Pipeline
from dogbreeds.serving.gpu import CudaGraphs, half_types
from dogbreeds.serving.settings import CUDA_GRAPHS, ONNX_RUNTIME, PYTORCH

logger = logging.getLogger(__name__)


class BackendError(RuntimeError):
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


class PyTorch:
    """PyTorch as it is, channels-last.

    Args:
        artifact: The archive with the model.
        device: Where to run.
    """

    name = PYTORCH
    tolerance = 1e-3

    def __init__(self, artifact: Artifact, device: torch.device) -> None:
        self._pipeline = Pipeline(artifact.model, artifact.preprocessing).eval()
        self._device = device

    def start(self, threads: int) -> None:
        """See `Backend.start`."""
        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = False  # 10 bits of mantissa would not be float32
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
    tolerance = 1e-3

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
                    Pipeline(artifact.model, artifact.preprocessing).eval(),
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
        options.enable_cpu_mem_arena = False  # no faster, and keeps what the largest batch took
        self._session = onnxruntime.InferenceSession(
            self._graph, options, providers=["CPUExecutionProvider"]
        )

    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Backend.run`."""
        result: npt.NDArray[np.float32] = self._session.run(None, {"pixels": pixels})[0]
        return result


def candidates(artifact: Artifact, device: torch.device, wanted: str | None) -> list[Backend]:
    """Return the backends to choose from on a device.

    Args:
        artifact: The loaded archive.
        device: Where to run.
        wanted: A name of `settings.BACKENDS`, or None for all that work.

    Returns:
        PyTorch in float32 first: what the others have to agree with.

    Raises:
        BackendError: The backend asked for cannot be had.
    """
    found: list[Backend] = [PyTorch(artifact, device)]
    if wanted == ONNX_RUNTIME or (wanted is None and device.type == "cpu"):
        try:
            found.append(OnnxRuntime(artifact))
        except BackendError as error:
            if wanted is not None:
                raise
            logger.warning("running on PyTorch, because %s", error)
    if wanted == CUDA_GRAPHS or (wanted is None and device.type == "cuda"):
        if device.type != "cuda":
            raise BackendError(f"{CUDA_GRAPHS} needs an NVIDIA GPU, and there is none")
        types = half_types(torch.cuda.get_device_capability(device))
        found += [CudaGraphs(artifact, device, dtype) for dtype in types]
    return found


def start(backends: list[Backend], threads: int, wanted: str | None = None) -> list[Backend]:
    """Start backends, and return those that run; PyTorch has to.

    Args:
        backends: What `candidates` gave.
        threads: Of one forward pass on the CPU.
        wanted: A name of `settings.BACKENDS`, which has to run.

    Raises:
        Exception: PyTorch or the backend asked for does not start; as the engine raised it.
    """
    started: list[Backend] = []
    for backend in backends:
        try:
            backend.start(threads)
        except Exception as error:  # engines raise many types
            if not started or backend.name == wanted:
                raise
            logger.warning("not running on %s: it does not start: %s", backend.name, error)
        else:
            started.append(backend)
    return started


def choose(backends: list[Backend], probe: Probe, wanted: str | None = None) -> Backend:
    """Return the fastest of started backends that answers the probe as the training did.

    Args:
        backends: What `start` gave.
        probe: The archive's.
        wanted: A name of `settings.BACKENDS`, which is taken if it agrees, fast or not.

    Raises:
        BackendError: None agrees, not even PyTorch.
    """
    agreeing = [backend for backend in backends if _agrees(backend, probe)]
    if not agreeing:
        raise BackendError(
            "the model does not give here what it gave when it was saved: expected probabilities"
            f" within {backends[0].tolerance:g}, got {_difference(backends[0], probe):.2g} apart"
            f" with torch {torch.__version__}; serve it with the version that trained it"
        )
    named = [backend for backend in agreeing if backend.name == wanted]
    return min(named or agreeing, key=lambda backend: _seconds(backend, probe.pixels))


def _agrees(backend: Backend, probe: Probe) -> bool:
    difference = _difference(backend, probe)
    if difference <= backend.tolerance:  # false also if it is no number
        return True
    logger.warning("not running on %s: it differs from training by %g", backend.name, difference)
    return False


def _difference(backend: Backend, probe: Probe) -> float:
    return float(np.abs(backend.run(probe.pixels) - probe.probabilities).max())


def _seconds(backend: Backend, probe: npt.NDArray[np.uint8], budget: float = 0.3) -> float:
    """Return the shortest of a few runs: other work on the machine only ever makes one longer."""
    times: list[float] = []
    while len(times) < 5 and sum(times) < budget:
        begin = time.perf_counter()
        backend.run(probe)
        times.append(time.perf_counter() - begin)
    return min(times)
