"""The train loss within epochs, for the report's learning curves."""

from pathlib import Path

import torch

from dogbreeds.system.files import write_json
from dogbreeds.training.callbacks import Callback, TrainingState

_POINTS = 200  # of a whole job


class StepLosses(Callback):
    """Writes mean losses of runs of steps as JSON, [epochs done, loss in nats], after each epoch.

    Losses stay on the device until then: no step waits for them. A job that resumes begins with
    the step at which it does. With several processes they are those of this one's photos.
    """

    def __init__(self, file: Path, epochs: int) -> None:
        """Write to `file`; `epochs` is the hyperparameter."""
        self._file, self._epochs = file, epochs
        self._points: list[tuple[float, torch.Tensor]] = []

    def on_train_begin(self, state: TrainingState) -> None:
        """Start with no losses."""
        self._state = state
        self._run = max(1, state.total_steps // _POINTS)  # steps per point
        self._steps = 0
        self._sum = torch.zeros(())

    def on_loss(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a forward pass's share of the step's mean loss."""
        self._sum = self._sum + loss.detach().float() * self._state.world_size

    def on_step_end(self) -> None:
        """Finish a run of steps."""
        self._steps += 1
        if self._steps == self._run:
            epochs = (self._state.step + 1) / self._state.total_steps * self._epochs
            self._points.append((round(epochs, 4), self._sum / self._steps))
            self._steps, self._sum = 0, torch.zeros(())

    def on_epoch_end(self, epoch: int, values: dict[str, float]) -> None:
        """Write all losses so far."""
        write_json(self._file, [(epochs, loss.item()) for epochs, loss in self._points])
