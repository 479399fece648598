"""From a batch of pixels to probabilities, on the fastest backend at hand."""

import logging

import numpy as np
import numpy.typing as npt
import torch

from dogbreeds.artifact import Artifact, create_probe
from dogbreeds.serving import backends

MAX_BATCH = 16
"""Larger batches are cut: they gain no speed, only memory."""

logger = logging.getLogger(__name__)


class Predictor:
    """Runs the model of an archive.

    Args:
        artifact: The loaded archive.
        device: Where to run.
        threads: Threads of one forward pass on the CPU.
        backend: A name of `settings.BACKENDS`, or None for the fastest that works.

    Raises:
        BackendError: The backend asked for cannot be had.
    """

    def __init__(
        self,
        artifact: Artifact,
        device: torch.device,
        threads: int,
        backend: str | None = None,
    ) -> None:
        self.artifact = artifact
        self._threads = threads
        self._wanted = backend
        self._candidates = backends.candidates(artifact, device, backend)
        self._probe = artifact.probe or create_probe(artifact.model, artifact.preprocessing)

    def start(self) -> None:
        """Choose a backend and get ready at full speed; called in the process that will predict.

        A backend that does not start, or answers the archive's probe otherwise than the training
        did, is not used.

        Raises:
            BackendError: No backend answers the probe as the training did.
        """
        started = backends.start(self._candidates, self._threads, self._wanted)
        self._backend = backends.choose(started, self._probe, self._wanted)
        self._candidates = [self._backend]  # the others' memory is given back
        logger.info(
            "ready: model %s on %s, %d threads",
            self.artifact.version,
            self.backend,
            self._threads,
        )

    @property
    def backend(self) -> str:
        """The name of the backend chosen."""
        return self._backend.name

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probability of each class.

        Args:
            pixels: Shape [N, S, S, 3], dtype uint8, of the archive's preprocessing.

        Returns:
            Shape [N, number of classes], dtype float32; each row sums to 1.
        """
        starts = range(0, len(pixels), MAX_BATCH)
        return np.concatenate([self._backend.run(pixels[i : i + MAX_BATCH]) for i in starts])
