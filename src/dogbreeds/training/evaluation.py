"""How well a model does on a split."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.distributed import Cluster

TOP = 5


@dataclass(frozen=True)
class Predictions:
    """What a model says of every photo of a split, in the split's order; tensors on the CPU.

    Attributes:
        targets: The right classes: shape [N], int64.
        classes: The most probable ones, best first: shape [N, min(5, C)], int64.
        probabilities: Of those classes: the same shape, float32, 0..1.
        losses: Cross-entropy in nats: shape [N], float32.
    """

    targets: torch.Tensor
    classes: torch.Tensor
    probabilities: torch.Tensor
    losses: torch.Tensor

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return self.losses.double().mean().item()

    @property
    def accuracy(self) -> float:
        """Share of photos whose most probable class is right, 0..1."""
        return (self.classes[:, 0] == self.targets).double().mean().item()

    @property
    def top5(self) -> float:
        """Share of photos whose class is among the five most probable, 0..1."""
        return (self.classes == self.targets[:, None]).any(1).double().mean().item()


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    photos: PixelStore,
    device: Device,
    batch_size: int,
    *,
    cluster: Cluster | None = None,
    on_progress: Callable[[int], object] = lambda photos: None,
) -> Predictions:
    """Run a model on every photo of a split, once each over all processes together.

    Args:
        model: Logits [N, C] from float32 [N, 3, S, S]; left in evaluation mode.
        photos: The split.
        device: Where to run.
        batch_size: Photos a forward pass.
        cluster: Who shares the work; every process gets the whole result.
        on_progress: Called with the number of photos that this process did since the last call.
    """
    cluster = cluster or Cluster()
    model.eval()
    indexes = torch.split(cluster.part(torch.arange(len(photos))), batch_size)
    parts: list[tuple[torch.Tensor, ...]] = []
    for pixels, targets in photos.batches(indexes):
        with device.autocast(training=False):
            logits = model(photos.preprocessing.normalize(pixels)).float()
        losses = F.cross_entropy(logits, targets, reduction="none")
        best = logits.softmax(1).topk(min(TOP, logits.shape[1]))
        parts.append((targets, best.indices, best.values, losses))
        on_progress(len(targets))
    joined = [cluster.join(torch.cat(column)) for column in zip(*parts, strict=True)]
    return Predictions(*(column.cpu() for column in joined))
