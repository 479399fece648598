"""Grad-CAM (Selvaraju et al., 2017): which parts of a photo spoke for the predicted class."""

import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dogbreeds.model.preprocessing import Preprocessing

_DARKEST = 0.2  # brightness of the parts that did not speak for the class


def grad_cam(model: nn.Module, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return how much each part of normalized images [N, 3, S, S] spoke for `classes` [N].

    The maps [N, S, S] are 0..1, each by its own maximum; they come from the CNN's last feature
    maps. The model is to be in evaluation mode.
    """
    features: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[-1] > 1:
            features[:] = [output]

    hooks = [module.register_forward_hook(keep) for module in model.modules()]
    try:
        with torch.enable_grad():
            logits = model(images.requires_grad_())
            chosen = logits.gather(1, classes[:, None]).sum()
            [gradients] = torch.autograd.grad(chosen, features)
    finally:
        for hook in hooks:
            hook.remove()
    weights = gradients.mean((2, 3), keepdim=True)
    maps = (weights * features[0]).sum(1, keepdim=True).relu().detach()
    maps = F.interpolate(maps, images.shape[-2:], mode="bilinear")[:, 0]
    return maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)


def grad_cam_pictures(
    model: nn.Module, preprocessing: Preprocessing, pixels: torch.Tensor, classes: torch.Tensor
) -> list[Image.Image]:
    """Return photos [N, S, S, 3] uint8, bright where they speak for `classes` [N]."""
    images = preprocessing.normalize(pixels)
    maps = grad_cam(model, images, classes.to(images.device))
    light = _DARKEST + (1 - _DARKEST) * maps[..., None]
    return [Image.fromarray(photo) for photo in (pixels * light).round().byte().cpu().numpy()]
