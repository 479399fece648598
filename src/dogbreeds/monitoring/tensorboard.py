"""TensorBoard event files with the metrics of each epoch."""

from pathlib import Path

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
