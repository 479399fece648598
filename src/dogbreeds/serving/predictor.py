"""From a batch of pixels to probabilities, on the fastest backend at hand."""

import logging

import numpy as np
import numpy.typing as npt
import torch

from dogbreeds.artifact import Artifact
from dogbreeds.serving import backends

MAX_BATCH = 16
"""Larger batches are cut: they gain no speed, only memory."""

# A backend whose probabilities differ more from PyTorch's is not used.
_TOLERANCE = 1e-3

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
        self._pytorch = backends.PyTorch(artifact, device)
        self._backend: backends.Backend = self._pytorch
        side = artifact.preprocessing.image_size
        self._probe = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
        if backend == backends.ONNX_RUNTIME or (backend is None and device.type == "cpu"):
            try:
                self._backend = backends.OnnxRuntime(artifact)
            except backends.BackendError as error:
                if backend is not None:
                    raise
                logger.warning("running on PyTorch, because %s", error)

    def start(self) -> None:
        """Get ready to predict at full speed; called in the process that will.

        A backend that does not agree with PyTorch on a probe is replaced by PyTorch.
        """
        self._pytorch.start(self._threads)
        self._backend.start(self._threads)
        expected, got = self._pytorch.run(self._probe), self._backend.run(self._probe)
        difference = float(np.abs(expected - got).max())
        if not difference <= _TOLERANCE:  # also if it is no number
            logger.warning(
                "running on PyTorch, because %s differs by %g", self._backend.name, difference
            )
            self._backend = self._pytorch
        self._backend.run(self._probe)
        logger.info(
            "ready: model %s on %s, %d threads",
            self.artifact.version,
            self._backend.name,
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
        return np.concatenate([self._backend.run(pixels[i : i + MAX_BATCH]) for i in starts])
