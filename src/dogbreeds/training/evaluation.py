"""How well a model does on a split."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dogbreeds.training.device import Device, PixelStore


@dataclass(frozen=True)
class Evaluation:
    """Metrics over a split.

    Attributes:
        loss: Mean cross-entropy in nats.
        accuracy: Share of photos whose most probable class is right, 0..1.
        top5: Share of photos whose class is among the five most probable, 0..1.
    """

    loss: float
    accuracy: float
    top5: float


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    photos: PixelStore,
    device: Device,
    batch_size: int,
    on_progress: Callable[[int], object] = lambda photos: None,
) -> Evaluation:
    """Evaluate a model on every photo of a split, once each.

    Args:
        model: Logits [N, C] from float32 [N, 3, S, S]; left in evaluation mode.
        photos: The split.
        device: Where to run.
        batch_size: Photos a forward pass.
        on_progress: Called with the number of photos done since the last call.
    """
    model.eval()
    loss = torch.zeros((), device=device.device, dtype=torch.float64)
    right = torch.zeros((), device=device.device, dtype=torch.int64)
    right5 = torch.zeros_like(right)
    for start in range(0, len(photos), batch_size):
        index = torch.arange(start, min(start + batch_size, len(photos)))
        pixels, targets = photos.batch(index)
        with device.autocast():
            logits = model(photos.preprocessing.normalize(photos.center(pixels)))
        logits = logits.float()
        loss += F.cross_entropy(logits, targets, reduction="sum")
        best = logits.topk(min(5, logits.shape[1])).indices == targets[:, None]
        right += best[:, 0].sum()
        right5 += best.any(dim=1).sum()
        on_progress(len(index))
    count = len(photos)
    return Evaluation(loss.item() / count, right.item() / count, right5.item() / count)
