"""The golden example of an artifact; without PyTorch, which a server need not load."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class GoldenExample:
    """An input, and what the model made of it when it was saved; serving must make the same of it.

    Attributes:
        pixels: uint8 [1, S, S, 3].
        probabilities: float32 [1, classes], computed in float32 on a CPU.
    """

    pixels: npt.NDArray[np.uint8]
    probabilities: npt.NDArray[np.float32]
