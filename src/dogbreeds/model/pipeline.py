"""From pixels to probabilities as one module, so that the archive and every backend do the same."""

import torch
from torch import nn

from dogbreeds.model.preprocessing import Preprocessing


class Pipeline(nn.Module):
    """Normalization, model and softmax.

    Args:
        model: From [N, 3, S, S] to logits [N, classes], in the type `dtype`.
        preprocessing: The archive's.
        dtype: What the model computes in.
    """

    def __init__(
        self, model: nn.Module, preprocessing: Preprocessing, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self._model = model
        self._preprocessing = preprocessing
        self._dtype = dtype

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return probabilities, float32 [N, classes], for pixels, uint8 [N, S, S, 3]."""
        logits: torch.Tensor = self._model(self._preprocessing.normalize(pixels).to(self._dtype))
        return logits.float().softmax(1)
