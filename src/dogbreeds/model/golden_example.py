"""The golden example of an artifact; without PyTorch, which a server may not load."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class GoldenExample:
    """An input and the model's output when it was saved, which serving must reproduce."""

    pixels: npt.NDArray[np.uint8]  # [1, S, S, 3]
    probabilities: npt.NDArray[np.float32]  # [1, classes], computed in float32 on a CPU
