"""From a decoded photo to the model's input."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dogbreeds.model.color import to_srgb
from dogbreeds.model.photo import Readable, decode_unconverted

if TYPE_CHECKING:  # checking and splitting photos need not wait for torch
    import torch


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded photo becomes the model's input; stored in the artifact with the weights.

    `mean` and `std`, of R, G and B in 0..1, are ImageNet's by default, as in torchvision.
    """

    resize_size: int = 224  # the short side is resized to this many pixels,
    image_size: int = 224  # then the central square of this many pixels is cropped
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def to_pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Resize the short side of an RGB image and crop the center; see `read_pixels`."""
        # Resizing only the box that the crop keeps gives the same pixels for less work.
        side = min(image.size) * self.image_size / self.resize_size
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        size = (self.image_size, self.image_size)
        if box != (0, 0, *image.size) or image.size != size:
            # reducing_gap first shrinks large photos by an integer factor: faster, hardly visible.
            image = image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        return np.asarray(image)

    def read_pixels(
        self, source: bytes | Readable, *, tolerate_truncated: bool = False
    ) -> npt.NDArray[np.uint8]:
        """Decode a photo no larger than needed and `cut` it: uint8 [image_size, image_size, 3].

        PhotoError as of `decode`; OSError if the file cannot be read.
        """
        side = self.resize_size
        image, _ = decode_unconverted(source, side, tolerate_truncated=tolerate_truncated)
        return self.cut(image)

    def cut(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Crop an image of `decode_unconverted` to the model's input size, in sRGB."""
        pixels = self.to_pixels(image)
        if profile := image.info.get("icc_profile"):
            small = Image.fromarray(pixels)
            small.info["icc_profile"] = profile
            pixels = np.asarray(to_srgb(small))
        return pixels

    def normalize(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """Normalize contiguous uint8 or float32 pixels [N, S, S, 3] in 0..255, on their device.

        The result is float32 [N, 3, S, S], channels-last.
        """
        # The permuted view of NHWC pixels is NCHW in channels-last memory format: nothing moves.
        # Permute first because ONNX Runtime is slow where the last dimension is short.
        values = pixels.permute(0, 3, 1, 2).float()
        mean = values.new_tensor(self.mean).view(3, 1, 1) * 255
        std = values.new_tensor(self.std).view(3, 1, 1) * 255
        return (values - mean) / std

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocessing":
        """Restore settings from a dict; KeyError, TypeError or ValueError if it is not valid."""
        preprocessing = cls(
            resize_size=int(values["resize_size"]),
            image_size=int(values["image_size"]),
            mean=tuple(map(float, values["mean"])),  # type: ignore[arg-type]
            std=tuple(map(float, values["std"])),  # type: ignore[arg-type]
        )
        if not 0 < preprocessing.image_size <= preprocessing.resize_size <= 4096:
            raise ValueError("expected 0 < image_size <= resize_size <= 4096")
        if len(preprocessing.mean) != 3 or len(preprocessing.std) != 3 or 0 in preprocessing.std:
            raise ValueError("expected 3 values in mean and 3 non-zero values in std")
        return preprocessing
