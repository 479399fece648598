"""Where a job runs, and the decoded photos as batches on it."""

import contextlib
from dataclasses import dataclass

import torch

from dogbreeds.data.pixels import DecodedSplit
from dogbreeds.images import Preprocessing


@dataclass(frozen=True)
class Device:
    """A device and the precision that it gains from.

    Attributes:
        device: ``cuda`` or ``cpu``.
        half: Half-precision type for matrix work, or None for float32 throughout.
    """

    device: torch.device
    half: torch.dtype | None

    @classmethod
    def best(cls) -> "Device":
        """Return the first GPU if there is one, otherwise the CPU."""
        if torch.cuda.is_available():
            half = torch.bfloat16 if torch.cuda.is_bf16_supported() else None
            torch.backends.cudnn.benchmark = True
            return cls(torch.device("cuda"), half)
        return cls(torch.device("cpu"), None)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context in which a forward pass runs."""
        if self.half is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.half)


class PixelStore:
    """The decoded photos of a split, on the GPU where they fit and in memory otherwise."""

    def __init__(self, split: DecodedSplit, preprocessing: Preprocessing, device: Device) -> None:
        """Move the pixels to where batches are taken from.

        Args:
            split: Pixels [N, R, R, 3] with R = preprocessing.resize_size.
            preprocessing: What the model expects.
            device: Where batches are wanted.
        """
        self.preprocessing = preprocessing
        self._device = device.device
        pixels, targets = torch.from_numpy(split.pixels), torch.from_numpy(split.targets)
        # A third of the free memory leaves room for the model and its activations.
        if self._device.type == "cuda":
            free, _ = torch.cuda.mem_get_info()
            if pixels.nbytes < free // 3:
                pixels = pixels.to(self._device)
        self._pixels = pixels
        self._targets = targets.to(self._device)

    def __len__(self) -> int:
        return len(self._targets)

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the photos at the given positions, on the device.

        Args:
            index: Shape [N], dtype int64, on the CPU.

        Returns:
            Pixels [N, R, R, 3] uint8 and class indexes [N] int64.
        """
        on_device = index.to(self._device, non_blocking=True)
        if self._pixels.device == self._device:
            return self._pixels[on_device], self._targets[on_device]
        pixels = self._pixels[index].pin_memory().to(self._device, non_blocking=True)
        return pixels, self._targets[on_device]

    def center(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the central square of each photo: [N, R, R, 3] becomes [N, S, S, 3]."""
        size = self.preprocessing.image_size
        start = (self.preprocessing.resize_size - size) // 2
        return pixels[:, start : start + size, start : start + size]
