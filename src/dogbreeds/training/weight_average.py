"""An exponential moving average (EMA) of the weights."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


def weight_average(model: nn.Module, decay: float) -> AveragedModel:
    """Return an average of a model's weights and running statistics, which its first step starts.

    A step keeps the share `decay` of the average, 0..1; early steps count more, as in TensorFlow.
    """

    def average(averages: list[torch.Tensor], values: list[torch.Tensor], _: torch.Tensor) -> None:
        steps = int(averaged.n_averaged)  # on the CPU; the argument would wait for the GPU
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + steps) / (10 + steps)))
        else:  # batch norm's step counters
            torch._foreach_copy_(averages, values)

    averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True)  # type: ignore[arg-type]
    return averaged
