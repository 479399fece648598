"""From a batch of pixels to probabilities, on the device at hand."""

import numpy as np
import numpy.typing as npt
import torch

from dogbreeds.artifact import Artifact

MAX_BATCH = 16
"""Larger batches are cut: they gain no speed, only memory."""


class Predictor:
    """Runs the model of an archive.

    Args:
        artifact: The loaded archive.
        device: Where to run.
        threads: Threads of one forward pass on the CPU.
    """

    def __init__(self, artifact: Artifact, device: torch.device, threads: int) -> None:
        self.artifact = artifact
        self._device = device
        self._threads = threads

    def start(self) -> None:
        """Move the model to its device and run it once, so that the first request is not slow.

        Called in the process that will predict: neither a thread pool nor CUDA outlives a fork.
        """
        torch.set_num_threads(self._threads)
        self.artifact.model.to(self._device)
        side = self.artifact.preprocessing.image_size
        for _ in range(2):
            self.predict(np.zeros((1, side, side, 3), np.uint8))

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probability of each class.

        Args:
            pixels: Shape [N, S, S, 3], dtype uint8, of the archive's preprocessing.

        Returns:
            Shape [N, number of classes], dtype float32; each row sums to 1.
        """
        parts = [
            self._forward(torch.from_numpy(pixels[start : start + MAX_BATCH]))
            for start in range(0, len(pixels), MAX_BATCH)
        ]
        return np.concatenate(parts)

    @torch.inference_mode()
    def _forward(self, pixels: torch.Tensor) -> npt.NDArray[np.float32]:
        inputs = self.artifact.preprocessing.normalize(pixels.to(self._device))
        logits: torch.Tensor = self.artifact.model(inputs)
        probabilities: npt.NDArray[np.float32] = logits.float().softmax(1).cpu().numpy()
        return probabilities
