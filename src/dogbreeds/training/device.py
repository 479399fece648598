"""Where a job runs, and the decoded photos as batches on it."""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dogbreeds.data.pixels import DecodedSplit
from dogbreeds.model.preprocessing import Preprocessing

_BATCHES_AHEAD = 2  # decoded while one is computed


@dataclass(frozen=True)
class Device:
    """A device and the precision that it gains from.

    Attributes:
        device: ``cuda`` or ``cpu``.
        half: Half-precision type for matrix work while training, or None for float32 throughout.
    """

    device: torch.device
    half: torch.dtype | None

    @classmethod
    def best(cls, local_rank: int = 0, precision: str = "auto") -> "Device":
        """Return the GPU of this process if there is one, otherwise the CPU.

        Args:
            local_rank: Of this process on its host.
            precision: As in `Settings`.
        """
        device = cls._fastest(local_rank)
        return device if precision == "auto" else dataclasses.replace(device, half=None)

    @classmethod
    def _fastest(cls, local_rank: int) -> "Device":
        if torch.cuda.is_available():
            # Before Ampere bfloat16 is only emulated; float16 gains there, with a loss scaler.
            native = torch.cuda.is_bf16_supported(including_emulation=False)
            torch.backends.cudnn.benchmark = True
            half = torch.bfloat16 if native else torch.float16
            return cls(torch.device("cuda", local_rank), half)
        return cls(torch.device("cpu"), torch.bfloat16 if _cpu_multiplies_bfloat16() else None)

    def autocast(self, *, training: bool = True) -> contextlib.AbstractContextManager[object]:
        """Return the context in which a forward pass runs.

        Args:
            training: If not, it computes as serving does: with 16 bits on GPUs only.
        """
        if self.half is None or not (training or self.device.type == "cuda"):
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.half)


def _cpu_multiplies_bfloat16() -> bool:
    """Tell whether the CPU has instructions for it, which double the speed of a training step.

    Source: the flags of x86 processors in Linux's ``arch/x86/include/asm/cpufeatures.h``.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:  # not Linux
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


class PixelStore:
    """The photos of a split as batches on the device.

    Their pixels lie on the GPU where they fit, otherwise in the cache; where there is no cache
    they are decoded while the batch before them is computed.

    Attributes:
        targets: Class index of each photo: shape [N], int64, on the device.
    """

    def __init__(
        self,
        split: DecodedSplit,
        preprocessing: Preprocessing,
        device: Device,
        *,
        workers: int = 1,
        tolerate_truncated: bool = False,
    ) -> None:
        """Move the pixels to where batches are taken from.

        Args:
            split: Photos of side S = preprocessing.image_size.
            preprocessing: What the model expects.
            device: Where batches are wanted.
            workers: Threads to decode with, where pixels are not kept.
            tolerate_truncated: As the split was decoded.
        """
        self.preprocessing = preprocessing
        self.paths = split.paths
        self._device = device.device
        self._workers = workers
        self._tolerate_truncated = tolerate_truncated
        self._pixels: torch.Tensor | None = None
        if split.pixels:
            pixels = torch.from_numpy(split.pixels.array)
            # A third of the free memory leaves room for the model and its activations.
            if self._device.type == "cuda":
                free, _ = torch.cuda.mem_get_info(self._device)
                if pixels.nbytes < free // 3:
                    pixels = pixels.to(self._device)
            self._pixels = pixels
        self.targets = torch.from_numpy(split.targets).to(self._device)

    def __len__(self) -> int:
        return len(self.targets)

    def batches(
        self, indexes: Iterable[torch.Tensor]
    ) -> Generator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the photos at the given positions, on the device.

        Args:
            indexes: Of each batch: shape [N], dtype int64, on the CPU.

        Yields:
            Pixels [N, S, S, 3] uint8 and class indexes [N] int64.

        Raises:
            PhotoError, OSError: A photo that could be decoded before no longer can.
        """
        if self._pixels is not None:
            yield from map(self._cached, indexes)
            return
        pool = ThreadPoolExecutor(self._workers)  # Pillow decodes without Python's lock
        ahead: deque[tuple[torch.Tensor, list[Future[npt.NDArray[np.uint8]]]]] = deque()
        try:
            for index in indexes:
                ahead.append((index, [pool.submit(self._decode, i) for i in index.tolist()]))
                if len(ahead) > _BATCHES_AHEAD:
                    yield self._gathered(*ahead.popleft())
            while ahead:
                yield self._gathered(*ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _cached(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert self._pixels is not None  # noqa: S101
        on_device = index.to(self._device, non_blocking=True)
        if self._pixels.device == self._device:
            return self._pixels[on_device], self.targets[on_device]
        return self._moved(self._pixels[index]), self.targets[on_device]

    def _decode(self, position: int) -> npt.NDArray[np.uint8]:
        return self.preprocessing.read_pixels(
            self.paths[position], tolerate_truncated=self._tolerate_truncated
        )

    def _gathered(
        self, index: torch.Tensor, photos: "list[Future[npt.NDArray[np.uint8]]]"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.from_numpy(np.stack([photo.result() for photo in photos]))
        return self._moved(pixels), self.targets[index.to(self._device, non_blocking=True)]

    def _moved(self, pixels: torch.Tensor) -> torch.Tensor:
        if self._device.type == "cpu":
            return pixels
        return pixels.pin_memory().to(self._device, non_blocking=True)
