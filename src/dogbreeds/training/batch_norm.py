"""Batch norm: with the statistics of the pretraining, or with those of all processes' photos."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


def set_training_mode(model: nn.Module, *, keep_statistics: bool) -> None:
    """Set training mode; where requested, batch norms use and keep their running statistics.

    Fine-tuning then begins with what the linear probe saw, and a small batch adds no noise; weights
    and biases of the norms are trained (`benchmarks/recipe.md` has the numbers).
    """
    for module in model.train().modules():
        if keep_statistics and isinstance(module, _BatchNorm):
            module.eval()


class SharedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with the statistics of the batch over all processes, in float32, on CPUs.

    `nn.SyncBatchNorm` does not run there. Input and output are [N, C, H, W] of one floating type; N
    may differ between processes.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalize; in training mode all processes must call this."""
        if not self.training:
            normal: torch.Tensor = super().forward(input)
            return normal
        count = torch.tensor(input.numel() / input.shape[1])
        dist.all_reduce(count)
        values = input.float()
        mean = _sum(values.sum((0, 2, 3))) / count
        centered = values - mean.view(1, -1, 1, 1)
        variance = _sum(centered.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            unbiased = variance * (count / (count - 1).clamp(min=1))
            self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr, arg-type]
            self.running_var.lerp_(unbiased, self.momentum)  # type: ignore[union-attr, arg-type]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centered * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(input.dtype)


def _sum(part: torch.Tensor) -> torch.Tensor:
    """Return the sum over all processes, with gradients."""
    total: torch.Tensor = all_reduce(part)  # type: ignore[no-untyped-call]
    return total


def share_batch_norm(model: nn.Module) -> nn.Module:
    """Return the model with shared batch norm statistics; on a CPU it is changed in place.

    Its batch norms need running statistics and a momentum, as torchvision's have.
    """
    if next(model.parameters()).is_cuda:
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm
    return model
