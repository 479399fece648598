"""From a decoded photo to the model's input; stored in the artifact with the weights."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dogbreeds.model.color import to_srgb
from dogbreeds.model.photo import Readable, decode_unconverted

if TYPE_CHECKING:  # checking and splitting photos should not wait for torch
    import torch


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded photo becomes the model's input; stored in the archive with the weights.

    Attributes:
        resize_size: The short side is resized to this many pixels.
        image_size: Then the central square of this many pixels is taken.
        mean: Mean of R, G and B in 0..1, subtracted.
        std: Standard deviation of R, G and B in 0..1, divided by.
    """

    resize_size: int = 224
    image_size: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # ImageNet's, as torchvision uses
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def to_pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Resize the short side and crop the centre.

        Args:
            image: An RGB image of any size.

        Returns:
            Pixels of shape [image_size, image_size, 3], dtype uint8.
        """
        # Resizing only the box that the crop keeps gives the same pixels for less work.
        side = min(image.size) * self.image_size / self.resize_size
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        size = (self.image_size, self.image_size)
        if box == (0, 0, *image.size) and image.size == size:
            return np.asarray(image)
        # reducing_gap shrinks large photos by an integer factor first: faster, hardly visible.
        resized = image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        return np.asarray(resized)

    def read_pixels(
        self, source: bytes | Readable, *, tolerate_truncated: bool = False
    ) -> npt.NDArray[np.uint8]:
        """Decode a photo, no larger than needed, and cut it to the model's input size.

        Args:
            source: The encoded photo, or what it is read from, e.g. the path of its file.
            tolerate_truncated: As in `decode`.

        Returns:
            Pixels of shape [image_size, image_size, 3], dtype uint8.

        Raises:
            PhotoError: As `decode` does.
            OSError: The file cannot be read.
        """
        return self.cut(
            decode_unconverted(source, self.resize_size, tolerate_truncated=tolerate_truncated)
        )

    def cut(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Cut what `decode_unconverted` gave to the model's input size, and convert it to sRGB."""
        pixels = self.to_pixels(image)
        if profile := image.info.get("icc_profile"):
            small = Image.fromarray(pixels)
            small.info["icc_profile"] = profile
            pixels = np.asarray(to_srgb(small))
        return pixels

    def normalize(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """Turn a batch of pixels into the model's input, on the device where the pixels are.

        Args:
            pixels: Shape [N, S, S, 3], contiguous, dtype uint8 or float32, range 0..255.

        Returns:
            Shape [N, 3, S, S], dtype float32, in channels-last memory format.
        """
        # The permuted view of NHWC pixels is NCHW in channels-last memory format: nothing is moved.
        # It comes first because ONNX Runtime is slow where the last dimension is the short one.
        values = pixels.permute(0, 3, 1, 2).float()
        mean = values.new_tensor(self.mean).view(3, 1, 1) * 255
        std = values.new_tensor(self.std).view(3, 1, 1) * 255
        return (values - mean) / std

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocessing":
        """Read back what `to_dict` gave.

        Raises:
            TypeError, ValueError: A key is missing or unknown, or a value is out of range.
        """
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
