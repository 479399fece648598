"""Random crops, flips and color jitter for a whole batch at once, on the device of the pixels."""

import math
from typing import Literal, NamedTuple

import torch
from torch.nn import functional as F  # noqa: N812  (the field's usual name)

Augmentation = Literal["light", "strong", "none"]

DRAWS = 14
"""Random numbers in 0..1 that `augment` takes per photo."""

_RATIO = (3 / 4, 4 / 3)  # width to height of a crop, as in torchvision's RandomResizedCrop


class _Strength(NamedTuple):
    area: float  # a crop keeps at least this share of the photo's area
    color: float  # brightness, contrast and saturation vary by this share
    angle: float  # photos are rotated by at most so many degrees
    erase: float  # this share of photos gets a gray rectangle (random erasing)


_STRENGTHS = {
    "light": _Strength(area=0.6, color=0.2, angle=0.0, erase=0.0),
    "strong": _Strength(area=0.2, color=0.4, angle=15.0, erase=0.5),
}
_ERASED = (0.2, 0.5)  # width and height of the rectangle, as shares of the side


def augment(
    pixels: torch.Tensor, size: int, draw: torch.Tensor, kind: Augmentation = "light", *,
    flip: bool = True,
) -> torch.Tensor:  # fmt: skip
    """Randomly crop, flip and color-jitter a batch of photos.

    It maps uint8 [N, R, R, 3] to float32 [N, `size`, `size`, 3] in 0..255, by the random numbers
    `draw`, 0..1, float32 [DRAWS, N] on the CPU. ``"strong"`` also rotates and erases; ``"none"``
    only resizes. With `flip`, half of the photos are mirrored, left to right.
    """
    # Sampling is faster on planes than on channels-last, on a CPU.
    images = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    if kind == "none":
        if images.shape[-1] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        return images.permute(0, 2, 3, 1)
    strength = _STRENGTHS[kind]
    theta = _affine(draw, strength, flip).to(images.device, non_blocking=True)
    shape = (len(images), 3, size, size)
    grid = F.affine_grid(theta, shape, align_corners=False)  # type: ignore[arg-type]
    crops = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    crops = _jittered(crops, 1 + strength.color * (2 * draw[5:8] - 1))
    if strength.erase:
        crops = _erased(crops, draw[9:14], strength.erase)
    return crops.clamp_(0, 255)


def _affine(draw: torch.Tensor, strength: _Strength, flip: bool) -> torch.Tensor:
    """Return crop, flip and rotation as affine matrices [N, 2, 3]."""
    area = strength.area + (1 - strength.area) * draw[0]
    low, high = map(math.log, _RATIO)
    ratio = torch.exp(low + (high - low) * draw[1]).sqrt()
    width = (area.sqrt() * ratio).clamp(max=1)
    height = (area.sqrt() / ratio).clamp(max=1)
    mirror = torch.where(draw[2] < 0.5, -1.0, 1.0) if flip else torch.ones_like(draw[2])
    angle = math.radians(strength.angle) * (2 * draw[8] - 1)
    theta = torch.zeros(draw.shape[1], 2, 3)
    theta[:, 0, 0] = width * mirror * angle.cos()
    theta[:, 0, 1] = -height * angle.sin()
    theta[:, 1, 0] = width * mirror * angle.sin()
    theta[:, 1, 1] = height * angle.cos()
    theta[:, 0, 2] = (1 - width) * (2 * draw[3] - 1)
    theta[:, 1, 2] = (1 - height) * (2 * draw[4] - 1)
    return theta


def _jittered(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Scale brightness, contrast and saturation, `factors` [3, N]: [N, 3, S, S] to [N, S, S, 3].

    With the gray g of a pixel (its mean) and the mean m of a photo, saturation s turns a value x
    into y = g + s (x - g), contrast c that into z = m + c (y - m), and brightness b that into b z.
    Together this is a 3 x 3 matrix and an offset per photo, and one pass over the pixels.
    """
    brightness, contrast, saturation = factors.to(images.device, non_blocking=True)[..., None, None]
    gray = torch.full((3, 3), 1 / 3, device=images.device)
    mix = torch.lerp(gray, torch.eye(3, device=images.device), saturation)
    values = images.flatten(2)  # [N, 3, S * S]
    mean = values.mean(dim=(1, 2), keepdim=True)
    offset = (brightness * (1 - contrast) * mean).expand(-1, 1, 3)
    # The matrix is symmetric, so it can be on the right, which gives channels-last.
    mixed = torch.baddbmm(offset, values.transpose(1, 2), brightness * contrast * mix)
    return mixed.view(len(images), *images.shape[2:], 3)


def _erased(images: torch.Tensor, draw: torch.Tensor, share: float) -> torch.Tensor:
    """Set a rectangle of some images [N, S, S, 3] to gray: `draw` is [5, N] on the CPU."""
    least, most = _ERASED
    extent = least + (most - least) * draw[1:3]
    start = draw[3:5] * (1 - extent)
    first, end = start.to(images.device), (start + extent).to(images.device)
    place = (torch.arange(images.shape[1], device=images.device) + 0.5) / images.shape[1]
    inside = (place >= first[..., None]) & (place < end[..., None])  # [2, N, S]
    rectangle = inside[0][:, None, :, None] & inside[1][:, :, None, None]
    chosen = (draw[0] < share).to(images.device)[:, None, None, None]
    return images.masked_fill(rectangle & chosen, 127.5)
