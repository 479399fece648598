"""The device of a job, and the decoded photos as batches on it."""

import contextlib
import functools
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dogbreeds.data.pixels import DecodedSplit
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.system.resources import cpu_flags
from dogbreeds.training.memory import fits_on_gpu

Batch = tuple[torch.Tensor, torch.Tensor]
"""Pixels [N, S, S, 3] uint8 and class indexes [N] int64, on the device."""

_BATCHES_AHEAD = 2  # how many are decoded during the computation of one


@dataclass(frozen=True)
class Device:
    """A device and the precision that suits it."""

    device: torch.device  # ``cuda`` or ``cpu``
    half: torch.dtype | None  # autocast type while training; None: float32 throughout

    @classmethod
    def best(cls, local_rank: int = 0, precision: str = "auto") -> "Device":
        """Return the GPU of this process, else the CPU; no autocast at `precision` ``float32``."""
        if torch.cuda.is_available():
            torch.backends.cudnn.benchmark = True
            # Before Ampere bfloat16 is only emulated; float16 is fast there, with loss scaling.
            native = torch.cuda.is_bf16_supported(including_emulation=False)
            device = torch.device("cuda", local_rank)
        else:
            # These matrix instructions double the speed of a training step.
            native = bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
            device = torch.device("cpu")
        half = torch.bfloat16 if native else torch.float16 if device.type == "cuda" else None
        return cls(device, half if precision == "auto" else None)

    def autocast(self, *, training: bool = True) -> contextlib.AbstractContextManager[object]:
        """Return the context of a forward pass; outside training, 16 bits are for GPUs only."""
        if self.half is None or not (training or self.device.type == "cuda"):
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.half)


class PixelStore:
    """The photos of a split as batches on the device.

    Pixels are kept on the GPU if they fit, otherwise in the cache; without a cache, `workers`
    threads decode photos during the computation of the batch before, tolerating truncated ones as
    the split did. `targets` are the class indexes: int64 [N] on the device.
    """

    def __init__(
        self, split: DecodedSplit, preprocessing: Preprocessing, device: Device, *,
        workers: int = 1, tolerate_truncated: bool = False,
    ) -> None:  # fmt: skip
        self.preprocessing = preprocessing
        self.paths = split.paths
        self._device = device.device
        self._workers = workers
        self._read = functools.partial(
            preprocessing.read_pixels, tolerate_truncated=tolerate_truncated
        )
        self._pixels: torch.Tensor | None = None
        if split.pixels:
            self._pixels = torch.from_numpy(split.pixels.array)
            if self._device.type == "cuda":
                free, _ = torch.cuda.mem_get_info(self._device)
                if fits_on_gpu(self._pixels.nbytes, free):
                    self._pixels = self._pixels.to(self._device)
        self.targets = torch.from_numpy(split.targets).to(self._device)

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self, indexes: Iterable[torch.Tensor]) -> Generator[Batch]:
        """Yield the photos at the given positions, for each batch int64 [N] on the CPU.

        PhotoError or OSError if a photo that could be decoded before no longer can.
        """
        if self._pixels is not None:
            for index in indexes:
                on_device = index.to(self._pixels.device, non_blocking=True)
                yield self._batch(index, self._pixels[on_device])
            return
        pool = ThreadPoolExecutor(self._workers)  # Pillow decodes without the GIL
        ahead: deque[tuple[torch.Tensor, list[Future[npt.NDArray[np.uint8]]]]] = deque()
        try:
            for index in indexes:
                ahead.append(
                    (index, [pool.submit(self._read, self.paths[i]) for i in index.tolist()])
                )
                if len(ahead) > _BATCHES_AHEAD:
                    yield self._decoded(*ahead.popleft())
            while ahead:
                yield self._decoded(*ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _decoded(self, index: torch.Tensor, photos: "list[Future[npt.NDArray[np.uint8]]]") -> Batch:
        return self._batch(index, torch.from_numpy(np.stack([photo.result() for photo in photos])))

    def _batch(self, index: torch.Tensor, pixels: torch.Tensor) -> Batch:
        if pixels.device.type != self._device.type:
            pixels = pixels.pin_memory().to(self._device, non_blocking=True)
        return pixels, self.targets[index.to(self._device, non_blocking=True)]
