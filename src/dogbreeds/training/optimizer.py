"""The optimizer, its parameter groups and the learning-rate schedule."""

import math
import re

import torch
from torch import nn

from dogbreeds.training.settings import Settings

# ``layer1.0.conv2.weight`` is in block ``layer1.0``, ``fc.weight`` in ``fc``.
_BLOCK = re.compile(r"([^.]+\.\d+|[^.]+)(\.\d+(?=\.))?")


def parameter_groups(
    model: nn.Module, *, lr: float, layer_decay: float, weight_decay: float
) -> list[dict[str, object]]:
    """Split the parameters of a torchvision classifier by learning rate and weight decay.

    `lr` is the learning rate of the last block, the head, `layer_decay` the ratio of a block's to
    that of the next block, 0..1 (Clark et al., "ELECTRA", 2020; BEiT). `weight_decay` is for
    weights of two or more dimensions; norms and biases get none. Each group has ``max_lr``, the
    rate that the schedule scales.
    """
    blocks: dict[str, int] = {}
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        prefix = _BLOCK.match(name)[0]  # type: ignore[index]  # every name has one
        block = blocks.setdefault(prefix, len(blocks))
        groups.setdefault((block, parameter.ndim > 1), []).append(parameter)
    result: list[dict[str, object]] = []
    for (block, is_weight), parameters in groups.items():
        rate = lr * layer_decay ** (len(blocks) - 1 - block)
        decay = weight_decay if is_weight else 0.0
        result.append({"params": parameters, "lr": rate, "max_lr": rate, "weight_decay": decay})
    return result


def create_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name."""
    groups = parameter_groups(
        model, lr=settings.lr, layer_decay=settings.layer_decay, weight_decay=settings.weight_decay
    )
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=True)
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, fused=True)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, step: int, total_steps: int, warmup: float
) -> None:
    """Set the learning rates of a `step` from 0: linear warmup, then cosine decay to zero.

    The highest rates, the groups' ``max_lr``, are reached after the share `warmup` of the steps,
    0..1.
    """
    warmup_steps = warmup * total_steps
    if step < warmup_steps:
        factor = (step + 1) / (warmup_steps + 1)
    else:
        progress = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
        factor = (1 + math.cos(math.pi * progress)) / 2
    for group in optimizer.param_groups:
        group["lr"] = group["max_lr"] * factor
