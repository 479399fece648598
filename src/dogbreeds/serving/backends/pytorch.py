"""PyTorch as a backend, and as the source of those for GPUs."""

import numpy as np
import numpy.typing as npt
import torch

from dogbreeds.model.artifact import Artifact, create_golden_example
from dogbreeds.model.document import Description
from dogbreeds.model.pipeline import Pipeline
from dogbreeds.model.torch_versions import disable_tf32
from dogbreeds.serving.backends.cuda_graphs import CudaGraphs, half_types
from dogbreeds.serving.predictor import Backend, BackendError, Predictor
from dogbreeds.serving.settings import CUDA_GRAPHS, PYTORCH


class PyTorch:
    """Eager PyTorch in float32, channels-last."""

    name = PYTORCH
    tolerance = 1e-3

    def __init__(self, artifact: Artifact, device: torch.device) -> None:
        pipeline = Pipeline(artifact.model, artifact.preprocessing, artifact.temperature)
        self._pipeline = pipeline.eval()
        self._device = device

    def start(self, threads: int) -> None:
        """See `Backend.start`."""
        torch.set_num_threads(threads)
        disable_tf32()
        self._pipeline.to(self._device)

    @torch.inference_mode()
    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Backend.run`."""
        output = self._pipeline(torch.from_numpy(pixels).to(self._device))
        result: npt.NDArray[np.float32] = output.cpu().numpy()
        return result


def create_predictor(
    artifact: Artifact, device: torch.device, threads: int, requested: str | None = None
) -> Predictor:
    """Return a predictor, not started, for an artifact; see `Predictor` and `candidates`.

    BackendError if the requested backend is not available.
    """
    golden_example = artifact.golden_example or create_golden_example(
        artifact.model, artifact.preprocessing, artifact.temperature
    )
    description = Description(
        artifact.classes, artifact.preprocessing, artifact.version, golden_example
    )
    return Predictor(description, candidates(artifact, device, requested), threads, requested)


def candidates(artifact: Artifact, device: torch.device, requested: str | None) -> list[Backend]:
    """Return the backends to choose from, or raise BackendError; PyTorch's is the reference."""
    found: list[Backend] = [PyTorch(artifact, device)]
    if requested == CUDA_GRAPHS or (requested is None and device.type == "cuda"):
        if device.type != "cuda":
            raise BackendError(f"{CUDA_GRAPHS} needs an NVIDIA GPU, and there is none")
        types = half_types(torch.cuda.get_device_capability(device))
        found += [CudaGraphs(artifact, device, dtype) for dtype in types]
    return found
