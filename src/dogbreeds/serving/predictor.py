"""From a batch of pixels to probabilities, on the fastest backend at hand."""

import logging

import numpy as np
import numpy.typing as npt

from dogbreeds.model.document import Description
from dogbreeds.serving.backends import choice
from dogbreeds.serving.backends.choice import Backend

MAX_BATCH = 16
"""Larger batches are cut: they gain no speed, only memory."""

logger = logging.getLogger(__name__)


class Predictor:
    """Runs the model of an archive.

    Args:
        description: Of the archive, with a golden example.
        candidates: Backends with its model, not started.
        threads: Threads of one forward pass on the CPU.
        wanted: A name of `settings.BACKENDS`, or None for the fastest that works.
    """

    def __init__(
        self,
        description: Description,
        candidates: list[Backend],
        threads: int,
        wanted: str | None = None,
    ) -> None:
        self.description = description
        self._candidates = candidates
        self._threads = threads
        self._wanted = wanted

    def start(self) -> None:
        """Choose a backend and get ready at full speed; called in the process that will predict.

        A backend that does not start, or answers the artifact's golden example otherwise than the
        training did, is not used.

        Raises:
            BackendError: No backend answers the golden example as the training did.
        """
        started = choice.start(self._candidates, self._threads, self._wanted)
        golden_example = self.description.golden_example
        assert golden_example is not None  # made by who loads an older artifact  # noqa: S101
        self.backend = choice.choose(started, golden_example, self._wanted)
        self._candidates = [self.backend]  # the others' memory is given back
        logger.info(
            "ready: model %s on %s, %d threads",
            self.description.version,
            self.backend.name,
            self._threads,
        )

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probability of each class.

        Args:
            pixels: Shape [N, S, S, 3], dtype uint8, of the archive's preprocessing.

        Returns:
            Shape [N, number of classes], dtype float32; each row sums to 1.
        """
        starts = range(0, len(pixels), MAX_BATCH)
        return np.concatenate([self.backend.run(pixels[i : i + MAX_BATCH]) for i in starts])
