"""TensorBoard event files: the metrics of each epoch, and the result of the job."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from dogbreeds.training.callbacks import Callback, TrainingState


class TensorBoard(Callback):
    """Writes each epoch's metrics as scalars, with the log's names and epochs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def on_train_begin(self, state: TrainingState) -> None:
        """Start a file with the epochs done; it replaces those of earlier runs."""
        for file in self._folder.glob("events.out.tfevents.*"):
            file.unlink()
        self._writer = SummaryWriter(str(self._folder))
        for epoch, values in enumerate(state.history, 1):
            self.on_epoch_end(epoch, values)

    def on_epoch_end(self, epoch: int, values: dict[str, float]) -> None:
        """Write an epoch's metrics."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, epoch)
            self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


def write_result(
    folder: Path, hyperparameters: Mapping[str, bool | float | str],
    metrics: Mapping[str, float], photos: Mapping[str, torch.Tensor],
) -> None:  # fmt: skip
    """Add a job's hyperparameters with its final metrics, and photos by title.

    Photos are of shape [N, H, W, 3], dtype uint8, on the CPU. OSError if they cannot be written.
    """
    final = {f"final/{name}": value for name, value in metrics.items()}
    with SummaryWriter(str(folder)) as writer:
        writer.add_hparams(dict(hyperparameters), final, run_name=".")
        for title, pixels in photos.items():
            writer.add_images(title, pixels, dataformats="NHWC")
