"""Half precision and CUDA graphs: the GPU computes at full width and never waits for Python.

A graph replays a fixed sequence of kernels over fixed memory, so there is one for each of a few
batch sizes, and a batch runs on the smallest that holds it.
"""

import copy
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from dogbreeds.model.artifact import Artifact
from dogbreeds.model.pipeline import Pipeline
from dogbreeds.serving.settings import CUDA_GRAPHS

_Pool = tuple[int, int] | None  # of memory, as torch.cuda.graph_pool_handle gives it

SIZES = (1, 2, 4, 8, 16)
"""Batch sizes with a graph of their own."""


def half_types(capability: tuple[int, int]) -> tuple[torch.dtype, ...]:
    """Return the 16-bit types that a GPU is fast at, the more precise one first.

    float16 has three more bits of precision; bfloat16 is for models that leave its range.

    Args:
        capability: The GPU's compute capability, as of ``torch.cuda.get_device_capability``.
            Source: NVIDIA's CUDA C++ programming guide (tensor cores from 7.0, bfloat16 from 8.0).
    """
    if capability < (7, 0):
        return ()
    return (torch.float16, torch.bfloat16) if capability >= (8, 0) else (torch.float16,)


class CudaGraphs:
    """A 16-bit copy of the model, channels-last, with a CUDA graph for each size.

    Args:
        artifact: The archive with the model, which is left as it is.
        device: The GPU. On a CPU, for want of graphs, each run computes over the same fixed memory.
        dtype: float16 or bfloat16.
    """

    name = CUDA_GRAPHS
    tolerance = 1e-2

    def __init__(self, artifact: Artifact, device: torch.device, dtype: torch.dtype) -> None:
        model = copy.deepcopy(artifact.model).to(dtype)
        self._pipeline = Pipeline(model, artifact.preprocessing, artifact.temperature, dtype).eval()
        self._side = artifact.preprocessing.image_size
        self._device = device

    def start(self, threads: int) -> None:
        """See `Backend.start`."""
        self._pipeline.to(self._device)
        torch.backends.cudnn.benchmark = True  # no size is ever new
        on_gpu = self._device.type == "cuda"
        pool = torch.cuda.graph_pool_handle() if on_gpu else None
        # The largest first: what it takes for its own steps then serves the smaller ones too.
        self._runs = {
            size: _FixedSize(self._pipeline, (size, self._side, self._side, 3), self._device, pool)
            for size in sorted(SIZES, reverse=True)
        }

    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Backend.run`; at most `SIZES[-1]` photos."""
        size = next(size for size in SIZES if size >= len(pixels))
        return self._runs[size](pixels)


class _FixedSize:
    """Runs batches of up to one size; what lies in the places left over does not matter."""

    def __init__(
        self,
        pipeline: torch.nn.Module,
        shape: tuple[int, int, int, int],
        device: torch.device,
        pool: _Pool,
    ) -> None:
        on_gpu = device.type == "cuda"
        # Only from memory that is pinned can the GPU fetch by itself.
        self._host = torch.zeros(shape, dtype=torch.uint8, pin_memory=on_gpu)
        self._input = torch.zeros_like(self._host, device=device)

        @torch.inference_mode()
        def forward() -> None:
            self._output = pipeline(self._input)

        self._replay = _capture(forward, device, pool) if on_gpu else forward

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        count = len(pixels)
        self._host.numpy()[:count] = pixels
        self._input.copy_(self._host, non_blocking=True)
        self._replay()
        # Copied out: the next run overwrites it. To wait for the copy is to wait for the run.
        result: npt.NDArray[np.float32] = self._output[:count].cpu().numpy().copy()
        return result


def _capture(forward: Callable[[], None], device: torch.device, pool: _Pool) -> Callable[[], None]:
    """Record the kernels of a function; return what replays them.

    Source: PyTorch's documentation, "CUDA semantics", section "CUDA Graphs".
    """
    with torch.cuda.device(device):
        side_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):  # libraries set themselves up in the first runs
            for _ in range(3):
                forward()
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):  # type: ignore[arg-type]
            forward()
    replay: Callable[[], None] = graph.replay
    return replay
