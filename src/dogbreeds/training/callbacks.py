"""The interface between the training loop and whatever follows a job."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass
class TrainingState:
    """What a callback sees of a job; the loop alone changes it.

    Attributes:
        model: The model being trained, on the device.
        optimizer: Updates the model.
        total_steps: Steps of the whole job.
        targets: The classes of all training photos: shape [N], int64.
        world_size: Processes that share a step.
        compiled: Whether forward passes run a compiled copy of the model.
        step: Steps done.
        history: Metrics of each epoch done.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    total_steps: int
    targets: torch.Tensor
    world_size: int = 1
    compiled: bool = False
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class Callback:
    """Is called as a job proceeds; by default it does nothing.

    Tensors that a callback receives belong to the job: they are on the device and must not be
    changed.
    """

    def phase(self, name: str) -> AbstractContextManager[object]:
        """Return the context that a phase such as ``"train 1"`` runs in."""
        return nullcontext()

    def on_train_begin(self, state: TrainingState) -> None:
        """Training begins at ``state.step``, which a checkpoint may have set."""

    def on_step_begin(self) -> None:
        """A step begins: batches, forward and backward passes follow."""

    def on_loss(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """A forward pass of the step is done.

        Args:
            loss: What its photos add to the mean loss of the step's batch: a scalar.
            logits: Shape [N, C].
            targets: The right classes: shape [N], int64.
        """

    def on_gradients(self, scale: Callable[[], float]) -> None:
        """All backward passes of the step are done; the optimizer has not updated the weights.

        Args:
            scale: Returns the factor of the gradients in half precision; otherwise 1.
        """

    def on_step_end(self) -> None:
        """The weights are updated and the gradients are gone."""

    def on_epoch_end(self, epoch: int, values: dict[str, float]) -> None:
        """An epoch is evaluated.

        Args:
            epoch: From 1; 0 for a job that only trains the linear probe.
            values: Its metrics by name.
        """

    def close(self) -> None:
        """The job ends, whether it succeeded or not."""


class Callbacks(Callback):
    """Several callbacks as one, called in order."""

    def __init__(self, callbacks: list[Callback]) -> None:
        self._callbacks = callbacks

    def phase(self, name: str) -> AbstractContextManager[object]:
        """Return the contexts of all callbacks as one."""
        stack = ExitStack()
        for callback in self._callbacks:
            stack.enter_context(callback.phase(name))
        return stack

    def on_train_begin(self, state: TrainingState) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_train_begin(state)

    def on_step_begin(self) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_step_begin()

    def on_loss(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_loss(loss, logits, targets)

    def on_gradients(self, scale: Callable[[], float]) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_gradients(scale)

    def on_step_end(self) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_step_end()

    def on_epoch_end(self, epoch: int, values: dict[str, float]) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_epoch_end(epoch, values)

    def close(self) -> None:
        """Close all."""
        for callback in self._callbacks:
            callback.close()
