"""Random crops, flips and colours for a whole batch at once, on the device where the pixels are."""

import math

import torch
from torch.nn import functional as F  # noqa: N812  (the field's usual name)

_AREA = (0.35, 1.0)  # share of the photo's area that a crop keeps
_RATIO = (3 / 4, 4 / 3)  # width to height of a crop, as in torchvision's RandomResizedCrop
_COLOR = 0.2  # brightness, contrast and saturation vary by this share


def augment(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Crop, flip and recolour each photo of a batch by chance.

    Args:
        pixels: Shape [N, R, R, 3], dtype uint8.
        size: Side S of the result.

    Returns:
        Shape [N, S, S, 3], dtype float32, range 0..255. The numbers come from torch's global
        generator, so that a seed repeats them.
    """
    images = pixels.permute(0, 3, 1, 2).float()
    count = len(images)
    # One set of numbers on the CPU, so that a seed means the same on every device.
    draw = torch.rand(8, count)
    area = _AREA[0] + (_AREA[1] - _AREA[0]) * draw[0]
    low, high = math.log(_RATIO[0]), math.log(_RATIO[1])
    ratio = torch.exp(low + (high - low) * draw[1]).sqrt()
    width = (area.sqrt() * ratio).clamp(max=1)
    height = (area.sqrt() / ratio).clamp(max=1)
    flip = torch.where(draw[2] < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = width * flip
    theta[:, 1, 1] = height
    theta[:, 0, 2] = (1 - width) * (2 * draw[3] - 1)
    theta[:, 1, 2] = (1 - height) * (2 * draw[4] - 1)
    theta = theta.to(images.device, non_blocking=True)
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    crops = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    factors = 1 + _COLOR * (2 * draw[5:8] - 1)
    brightness, contrast, saturation = (
        factors.view(3, count, 1, 1, 1).to(images.device, non_blocking=True).unbind()
    )
    grey = crops.mean(dim=1, keepdim=True)
    crops = torch.lerp(grey, crops, saturation)
    crops = torch.lerp(grey.mean(dim=(2, 3), keepdim=True), crops, contrast) * brightness
    return crops.clamp(0, 255).permute(0, 2, 3, 1)
