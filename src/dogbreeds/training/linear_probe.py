"""The linear probe: a new head, trained alone on pretrained features that are computed once.

It costs one pass without gradients and keeps the head's large first gradients from the features.
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
    model: nn.Module, photos: PixelStore, device: Device, *,
    epochs: int, batch_size: int, label_smoothing: float, seed: int, cluster: Cluster | None = None,
    on_progress: Callable[[int], object] = lambda photos: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:  # fmt: skip
    """Train the last linear layer of a pretrained classifier; nothing else changes.

    The processes share the features, with `batch_size` photos per forward pass; each then trains
    the same head. `seed` determines the order of the photos. After each forward pass, `on_progress`
    is called with its number of photos, and if `should_stop` returns true, training uses the photos
    so far. It returns False if the head is not a linear layer (SqueezeNet), which stays untrained.
    """
    head = model.get_submodule(head_name(model))
    if not isinstance(head, nn.Linear):
        return False
    cluster = cluster or Cluster()
    captured: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    model.eval()
    indexes = torch.split(cluster.part(torch.arange(len(photos))), batch_size)
    hook = head.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0].float()))
    with torch.no_grad(), hook:
        for pixels, classes in photos.batches(indexes):
            with device.autocast():
                model(photos.preprocessing.normalize(pixels))
            labels.append(classes)
            on_progress(len(classes))
            if should_stop():
                break
    features, targets = (cluster.all_gather(torch.cat(parts)) for parts in (captured, labels))

    optimizer = torch.optim.AdamW(head.parameters(), lr=_LR, weight_decay=0.01)
    steps = epochs * -(-len(targets) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(targets), generator=generator).to(features.device)
        for index in torch.split(order, _BATCH):
            logits = head(features[index])
            loss = F.cross_entropy(logits, targets[index], label_smoothing=label_smoothing)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return True
