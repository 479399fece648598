"""The linear probe: a new head, trained alone over features that are computed once.

With pretrained weights the features are good from the start and the head is random. Fitting the
head first costs one pass without gradients, and keeps its first, large gradients from spoiling
the features.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dogbreeds.model.networks import head_name
from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.distributed import Cluster

_BATCH = 256
_LR = 3e-3


def train_linear_probe(
    model: nn.Module,
    photos: PixelStore,
    device: Device,
    *,
    epochs: int,
    batch_size: int,
    label_smoothing: float,
    seed: int,
    cluster: Cluster | None = None,
    on_progress: Callable[[int], object] = lambda photos: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Fit the model's last linear layer to a split; nothing else changes.

    Args:
        model: A pretrained classifier with a random head; changed in place.
        photos: The training split.
        device: Where to run.
        epochs: Passes over the features.
        batch_size: Photos a forward pass while the features are computed.
        label_smoothing: Share of the target spread over all classes, 0..1.
        seed: Order of the photos.
        cluster: Who shares the computing of the features; every process then fits the same head.
        on_progress: Called with the number of photos whose features were computed.
        should_stop: Asked after each forward pass; the head is then fitted to the photos so far.

    Returns:
        Whether the head was trained; False where it is not a linear layer (SqueezeNet).
    """
    head = model.get_submodule(head_name(model))
    if not isinstance(head, nn.Linear):
        return False
    features, targets = _features(
        model, head, photos, device, batch_size, cluster or Cluster(), on_progress, should_stop
    )
    optimizer = torch.optim.AdamW(head.parameters(), lr=_LR, weight_decay=0.01)
    steps = epochs * -(-len(targets) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(targets), generator=generator).to(features.device)
        for index in torch.split(order, _BATCH):
            loss = F.cross_entropy(
                head(features[index]), targets[index], label_smoothing=label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return True


@torch.no_grad()
def _features(
    model: nn.Module,
    head: nn.Linear,
    photos: PixelStore,
    device: Device,
    batch_size: int,
    cluster: Cluster,
    on_progress: Callable[[int], object],
    should_stop: Callable[[], bool],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what reaches the head for every photo: [N, F] float32, and the targets [N]."""
    captured: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0].float()))
    all_targets = []
    model.eval()
    try:
        indexes = torch.split(cluster.part(torch.arange(len(photos))), batch_size)
        for pixels, targets in photos.batches(indexes):
            with device.autocast():
                model(photos.preprocessing.normalize(pixels))
            all_targets.append(targets)
            on_progress(len(targets))
            if should_stop():
                break
    finally:
        hook.remove()
    return cluster.all_gather(torch.cat(captured)), cluster.all_gather(torch.cat(all_targets))
