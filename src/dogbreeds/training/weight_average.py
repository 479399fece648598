"""An average of the weights over the steps (EMA)."""

import copy
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """An exponential moving average of a model's weights and running statistics.

    Attributes:
        model: A model with the averages.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start at the model's weights.

        Args:
            model: The model being trained; not changed.
            decay: Share of the average that a step keeps, 0..1.
        """
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take a step's weights in.

        Args:
            model: The model being trained.
            step: Steps done before this one. Early averages follow faster, as in TensorFlow's
                ``ExponentialMovingAverage``: the decay is at most (1 + step) / (10 + step).
        """
        decay = min(self._decay, (1 + step) / (10 + step))
        averages, values = self.model.state_dict(), model.state_dict()
        floating = [name for name, tensor in averages.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [averages[name] for name in floating], [values[name] for name in floating], 1 - decay
        )
        for name in averages.keys() - set(floating):  # batch norm's step counters
            averages[name].copy_(values[name])

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.model.load_state_dict(state)
