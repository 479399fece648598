"""From a batch of pixels to probabilities, on the fastest available backend."""

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dogbreeds.model.document import Description
from dogbreeds.serving.backends import choice
from dogbreeds.serving.backends.choice import Backend

MAX_BATCH = 16
"""Larger batches are split: they cost memory and are no faster."""

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Predictor:
    """Runs the model of an artifact.

    Attributes:
        description: The artifact's, with a golden example.
        candidates: Backends with its model, not started.
        threads: Per forward pass on the CPU.
        requested: One of `settings.BACKENDS`, or None for the fastest that works.
    """

    description: Description
    candidates: list[Backend]
    threads: int
    requested: str | None = None

    def start(self) -> None:
        """Choose a backend and warm it up; call it in the process that will predict.

        A backend that does not start, or does not reproduce the golden example, is not used.

        Raises:
            BackendError: No backend reproduces the golden example.
        """
        started = choice.start(self.candidates, self.threads, self.requested)
        golden_example = self.description.golden_example
        assert golden_example is not None  # the loader makes one for older artifacts  # noqa: S101
        self.backend = choice.choose(started, golden_example, self.requested)
        self.candidates = [self.backend]  # frees the others' memory
        version, name = self.description.version, self.backend.name
        logger.info("ready: model %s on %s, %d threads", version, name, self.threads)

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probability of each class.

        Args:
            pixels: Shape [N, S, S, 3], dtype uint8, by the artifact's preprocessing.

        Returns:
            Shape [N, number of classes], dtype float32; each row sums to 1.
        """
        starts = range(0, len(pixels), MAX_BATCH)
        return np.concatenate([self.backend.run(pixels[i : i + MAX_BATCH]) for i in starts])
