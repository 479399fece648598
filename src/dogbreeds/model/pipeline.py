"""From pixels to probabilities as one module, shared by the artifact and every backend."""

import torch
from torch import nn

from dogbreeds.model.preprocessing import Preprocessing


class Pipeline(nn.Module):
    """Normalization, model, temperature (divides the logits) and softmax.

    The model maps [N, 3, S, S] to logits [N, classes], both of type `dtype`.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        temperature: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self._model, self._preprocessing = model, preprocessing
        self._temperature, self._dtype = temperature, dtype

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return probabilities, float32 [N, classes], for pixels, uint8 [N, S, S, 3]."""
        logits: torch.Tensor = self._model(self._preprocessing.normalize(pixels).to(self._dtype))
        return (logits.float() / self._temperature).softmax(1)
