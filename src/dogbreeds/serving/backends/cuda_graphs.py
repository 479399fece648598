"""Half precision and CUDA graphs: the GPU runs at full speed and never waits for Python.

A few batch sizes have a graph each: kernels over fixed memory. The smallest that fits is run.
"""

import copy
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from dogbreeds.model.artifact import Artifact
from dogbreeds.model.pipeline import Pipeline
from dogbreeds.serving.settings import CUDA_GRAPHS

SIZES = (1, 2, 4, 8, 16)
"""Batch sizes that are captured as graphs."""

_Pool = tuple[int, int] | None  # as returned by torch.cuda.graph_pool_handle


def half_types(capability: tuple[int, int]) -> tuple[torch.dtype, ...]:
    """Return the 16-bit types that a GPU of a compute capability is fast at.

    float16 has three more bits of mantissa; bfloat16 is for models that overflow it. Source:
    NVIDIA's CUDA C++ programming guide (tensor cores from 7.0, bfloat16 from 8.0).
    """
    if capability < (7, 0):
        return ()
    return (torch.float16, torch.bfloat16) if capability >= (8, 0) else (torch.float16,)


class CudaGraphs:
    """A copy of the model in `dtype`, of 16 bits, with a CUDA graph per size; none on CPUs."""

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
        torch.backends.cudnn.benchmark = True  # shapes never change
        pool = torch.cuda.graph_pool_handle() if self._device.type == "cuda" else None
        # Capture the largest first: the smaller ones then reuse its memory.
        self._runs = {
            size: _FixedSize(self._pipeline, (size, self._side, self._side, 3), self._device, pool)
            for size in sorted(SIZES, reverse=True)
        }

    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Backend.run`; at most `SIZES[-1]` photos."""
        return self._runs[next(size for size in SIZES if size >= len(pixels))](pixels)


class _FixedSize:
    """Runs batches of up to one size; the content of unused places does not matter."""

    def __init__(
        self, pipeline: torch.nn.Module, shape: tuple[int, ...], device: torch.device, pool: _Pool
    ) -> None:
        on_gpu = device.type == "cuda"
        # The GPU can only copy asynchronously from pinned memory.
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
        # Copy, because the next run overwrites the output. The copy also waits for the run.
        result: npt.NDArray[np.float32] = self._output[:count].cpu().numpy().copy()
        return result


def _capture(forward: Callable[[], None], device: torch.device, pool: _Pool) -> Callable[[], None]:
    """Return what replays a function's kernels; see "CUDA Graphs" in PyTorch's documentation."""
    with torch.cuda.device(device):
        side_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):  # libraries initialize in the first runs
            for _ in range(3):
                forward()
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):  # type: ignore[arg-type]
            forward()
    replay: Callable[[], None] = graph.replay
    return replay
