"""From the bytes of a photo to the model's input: the one decoder of training and serving."""

import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:  # checking and splitting photos should not wait for torch
    import torch

MAX_MEGAPIXELS = 100.0
"""Photos with more pixels are refused before they are decoded (decompression bombs)."""

# Our own limit, which is checked on the header, stands in for Pillow's warning and error.
Image.MAX_IMAGE_PIXELS = None
# The formats that the project documents; Pillow's others are seldom used and seldom audited.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


class Readable(Protocol):
    """A `pathlib.Path`, or whatever else a photo can be read from."""

    def read_bytes(self) -> bytes:
        """Return the encoded photo."""


class PhotoError(ValueError):
    """The bytes are no photo that can be decoded; the message says why."""


class PhotoTooLargeError(PhotoError):
    """The photo has more pixels than `MAX_MEGAPIXELS`; it was not decoded."""


def decode(
    source: bytes | Readable, min_side: int | None = None, *, tolerate_truncated: bool = False
) -> Image.Image:
    """Decode a photo to upright RGB.

    EXIF orientation is applied, transparency is laid on white, 16-bit greyscale is scaled to
    8 bits, and of an animation the first frame is taken.

    Args:
        source: The encoded photo, or what it is read from, e.g. the path of its file.
        min_side: If given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its
            short side keeps at least this many pixels (libjpeg's scaled decoding), which costs a
            fraction of the time.
        tolerate_truncated: Fill what is missing of a truncated photo with grey instead of
            refusing it.

    Returns:
        An RGB image of 8 bits a channel.

    Raises:
        PhotoError: The bytes are not a photo, or it is broken or truncated.
        PhotoTooLargeError: It has more than `MAX_MEGAPIXELS` million pixels.
        OSError: The file cannot be read.
    """
    data = source if isinstance(source, bytes | bytearray) else source.read_bytes()
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise PhotoError(_describe_unknown(data)) from None
    except Exception as error:  # Pillow's parsers raise many types on hostile headers
        raise PhotoError(f"broken photo: {error}") from error
    megapixels = image.width * image.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise PhotoTooLargeError(
            f"expected at most {MAX_MEGAPIXELS:g} megapixels, got {image.width} x {image.height}"
            f" = {megapixels:.0f} megapixels"
        )
    try:
        if min_side is not None and image.format in ("JPEG", "MPO"):
            scale = max(1.0, min(image.size) / min_side)
            # The size asked for is a floor: libjpeg picks the smallest scale that is not below it.
            image.draft("RGB", (int(image.width / scale), int(image.height / scale)))
        _load(image, tolerate_truncated)
        return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:
        raise PhotoError(f"broken or truncated {image.format} photo: {error}") from error


def _load(image: Image.Image, tolerate_truncated: bool) -> None:
    """Decode the pixels; Pillow's only switch for truncated files is a module global."""
    if not tolerate_truncated:
        image.load()
        return
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        image.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit greyscale, also where Pillow holds it in 32 bits
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray((values / 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _describe_unknown(data: bytes) -> str:
    if not data:
        return "expected a photo, got an empty file"
    if data.startswith(b"\xff\xd8") or data.startswith(b"\x89PNG"):
        return "truncated photo: its header is incomplete"
    return "expected a JPEG, PNG, WebP, BMP, GIF or TIFF photo, got something else"


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
        image = decode(source, self.resize_size, tolerate_truncated=tolerate_truncated)
        return self.to_pixels(image)

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
