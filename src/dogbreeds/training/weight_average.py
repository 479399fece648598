"""An exponential moving average (EMA) of the weights."""

import copy
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """An exponential moving average of a model's weights and running statistics.

    A step keeps the share `decay` of the average, 0..1. `model` has the averages, and is at first a
    copy of the one being trained.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Add the weights after `step` + 1 steps; early ones count more, as in TensorFlow."""
        decay = min(self._decay, (1 + step) / (10 + step))
        averages, values = self.model.state_dict(), model.state_dict()
        floating = [name for name, tensor in averages.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [averages[name] for name in floating], [values[name] for name in floating], 1 - decay
        )
        for name in averages.keys() - set(floating):  # these are batch norm's step counters
            averages[name].copy_(values[name])

    def state_dict(self) -> dict[str, Any]:
        """Return the average for a checkpoint."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from what `state_dict` returned."""
        self.model.load_state_dict(state)
