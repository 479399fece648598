"""Predictions of a model on a split, and their metrics."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dogbreeds.training.calibration import expected_calibration_error
from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.distributed import Cluster

TOP = 5
_METRICS = ("loss", "accuracy", "top5", "ece")  # properties of `Predictions`


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for all photos of a split, in the split's order, on the CPU."""

    targets: torch.Tensor  # the true classes: shape [N], int64
    logits: torch.Tensor  # shape [N, C], float32
    temperature: float = 1.0  # divides the logits in everything computed from them

    @cached_property
    def classes(self) -> torch.Tensor:
        """The most probable classes, best first: shape [N, min(5, C)], int64."""
        return self.logits.topk(min(TOP, self.logits.shape[1])).indices

    @cached_property
    def probabilities(self) -> torch.Tensor:
        """Those of `classes`: shape [N, min(5, C)], float32, 0..1."""
        return (self.logits / self.temperature).softmax(1).gather(1, self.classes)

    @cached_property
    def losses(self) -> torch.Tensor:
        """Cross-entropy in nats: shape [N], float32."""
        return F.cross_entropy(self.logits / self.temperature, self.targets, reduction="none")

    @property
    def mistakes(self) -> torch.Tensor:
        """Positions of the wrong predictions, the highest loss first: shape [M], int64."""
        wrong = (self.classes[:, 0] != self.targets).nonzero().flatten()
        return wrong[self.losses[wrong].argsort(descending=True, stable=True)]

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return self.losses.double().mean().item()

    @property
    def accuracy(self) -> float:
        """Share of photos whose most probable class is the true one, 0..1."""
        return (self.classes[:, 0] == self.targets).double().mean().item()

    @property
    def top5(self) -> float:
        """Share of photos whose true class is among the five most probable, 0..1."""
        return (self.classes == self.targets[:, None]).any(1).double().mean().item()

    @property
    def ece(self) -> float:
        """Expected calibration error over 10 bins, 0..1."""
        right = self.classes[:, 0] == self.targets
        return expected_calibration_error(self.probabilities[:, 0], right)

    @property
    def uncalibrated(self) -> "Predictions":
        """The predictions at temperature 1."""
        return replace(self, temperature=1.0)

    def __str__(self) -> str:
        return f"valid loss {self.loss:.4f}, valid accuracy {self.accuracy:.2%}"

    def metrics(self, split: str) -> dict[str, float]:
        """Return the metrics of an epoch, by name, e.g. ``valid_loss``."""
        return {f"{split}_{name}": getattr(self, name) for name in _METRICS}


@torch.inference_mode()
def evaluate(
    model: nn.Module, photos: PixelStore, device: Device, batch_size: int, *,
    cluster: Cluster | None = None, on_progress: Callable[[int], object] = lambda photos: None,
) -> Predictions:  # fmt: skip
    """Run a model on every photo of a split, at temperature 1.

    Args:
        model: Logits [N, C] from float32 [N, 3, S, S]; left in evaluation mode.
        photos: The split.
        device: Where to run.
        batch_size: Photos per forward pass.
        cluster: The processes that share the work; each returns all predictions.
        on_progress: Called after each forward pass with its number of photos.
    """
    cluster = cluster or Cluster()
    model.eval()
    indexes = torch.split(cluster.part(torch.arange(len(photos))), batch_size)
    parts = []
    for pixels, targets in photos.batches(indexes):
        with device.autocast(training=False):
            logits = model(photos.preprocessing.normalize(pixels)).float()
        parts.append((targets, logits))
        on_progress(len(targets))
    targets, logits = (torch.cat(column) for column in zip(*parts, strict=True))
    return Predictions(cluster.all_gather(targets).cpu(), cluster.all_gather(logits).cpu())
