"""WiSE-FT: models on the line between a linear probe and the fine-tuned weights.

Fine-tuned weights fit the photos better, the original ones generalize better. Source: Wortsman et
al., "Robust fine-tuning of zero-shot models", 2022.
"""

import copy
from collections.abc import Mapping

import torch
from torch import nn

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The shares of the fine-tuned weights to choose from."""


def interpolate(probe: dict[str, torch.Tensor], model: nn.Module, share: float) -> nn.Module:
    """Return a model between two of the same architecture.

    `probe` is the state dict from before fine-tuning, with a trained head; `model` is not changed.
    `share`, 0..1, is that of the fine-tuned weights; 0 and 1 return the two models themselves. Both
    have the same running statistics of batch norm.
    """
    if share == 1:
        return model
    between = copy.deepcopy(model)
    mixed = {
        name: torch.lerp(probe[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    between.load_state_dict(mixed)
    return between


def choose(losses: Mapping[float, torch.Tensor]) -> float:
    """Return the share to use, given the validation losses of N photos [N] by share, 0 among them.

    It is the one with the highest lower end of the 95 % confidence interval of its gain over the
    linear probe, which itself has a gain of 0: so the probe is left only for a sure gain.
    """

    def sure_gain(share: float) -> float:
        gains = losses[0.0] - losses[share]
        error = gains.std() / len(gains) ** 0.5 if len(gains) > 1 else torch.inf
        return float(gains.mean() - 1.96 * error)

    return max(losses, key=sure_gain)


def describe(share: float) -> str:
    """Return a share in words."""
    name = {0.0: "linear probe", 1.0: "fine-tuned fully"}.get(share, "between probe and fine-tuned")
    return f"{name} (share {share:g})"
