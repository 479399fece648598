"""WiSE-FT: models on the line between a linear probe and the fine-tuned weights.

Fine-tuned weights fit the photos better, the original ones generalize better. Source: Wortsman et
al., "Robust fine-tuning of zero-shot models", 2022.
"""

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.distributed import Cluster

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The shares of the fine-tuned weights to choose from."""

_PHOTOS = 512  # enough for running statistics: each gives dozens of values per channel


def interpolate(
    probe: dict[str, torch.Tensor], model: nn.Module, share: float, photos: PixelStore,
    device: Device, *, batch_size: int, cluster: Cluster,
) -> nn.Module:  # fmt: skip
    """Return a model between two of the same architecture; all processes take part.

    `probe` is the state dict from before fine-tuning; `model` is not changed. `share`, 0..1, is
    that of the fine-tuned weights; 0 and 1 return the two models themselves. In between, running
    statistics are estimated anew, with `batch_size` photos per forward pass over all processes.
    """
    if share == 1:
        return model
    between = copy.deepcopy(model)
    mixed = {
        name: torch.lerp(probe[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    between.load_state_dict(mixed)
    if share > 0:
        _estimate_statistics(between, photos, device, batch_size, cluster)
    return between


def describe(share: float) -> str:
    """Return a share in words."""
    name = {0.0: "linear probe", 1.0: "fine-tuned fully"}.get(share, "between probe and fine-tuned")
    return f"{name} (share {share:g})"


@torch.no_grad()
def _estimate_statistics(
    model: nn.Module, photos: PixelStore, device: Device, batch_size: int, cluster: Cluster
) -> None:
    """Set a model's running statistics from up to 512 unaugmented training photos, in place."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(0))[:_PHOTOS]
    batches = order.tensor_split(max(1, len(order) // batch_size))
    model.eval()  # disables dropout
    for norm in norms:
        norm.train()
    for count, (pixels, _) in enumerate(photos.batches(map(cluster.part, batches)), start=1):
        for norm in norms:
            norm.momentum = 1 / count  # makes a plain mean over the batches
        with device.autocast(training=False):
            model(photos.preprocessing.normalize(pixels))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
