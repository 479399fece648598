"""From pixels to probabilities as one module, so that the archive and every backend do the same."""

import torch
from torch import nn

from dogbreeds.model.preprocessing import Preprocessing


class Pipeline(nn.Module):
    """Normalization, model, temperature and softmax.

    Args:
        model: From [N, 3, S, S] to logits [N, classes], in the type `dtype`.
        preprocessing: The archive's.
        temperature: Divides the logits.
        dtype: What the model computes in.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        temperature: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self._model = model
        self._preprocessing = preprocessing
        self._temperature = temperature
        self._dtype = dtype

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return probabilities, float32 [N, classes], for pixels, uint8 [N, S, S, 3]."""
        logits: torch.Tensor = self._model(self._preprocessing.normalize(pixels).to(self._dtype))
        return (logits.float() / self._temperature).softmax(1)
