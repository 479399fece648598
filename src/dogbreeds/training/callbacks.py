"""What a training job tells those who watch it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from dogbreeds.training.loop import Trainer


class Observer:
    """Is told what happens in a job, and by default does nothing about it.

    What it is given still belongs to the job: tensors are on the device and must not be changed.
    """

    def phase(self, name: str) -> AbstractContextManager[object]:
        """Return the context that a phase such as ``"train 1"`` runs in."""
        return nullcontext()

    def training_starts(self, trainer: "Trainer") -> None:
        """Training goes on from ``trainer.step``, be it the first one or that of a checkpoint."""

    def step_starts(self) -> None:
        """A step begins: batches, forward and backward passes follow."""

    def loss_computed(
        self, loss: "torch.Tensor", logits: "torch.Tensor", targets: "torch.Tensor"
    ) -> None:
        """A forward pass of the step is done.

        Args:
            loss: What its photos add to the mean loss of the step's batch: a scalar.
            logits: Shape [N, C].
            targets: The right classes: shape [N], int64.
        """

    def gradients_ready(self, scale: Callable[[], float]) -> None:
        """All backward passes of the step are done; weights are as the step found them.

        Args:
            scale: Gives what gradients are multiplied by, for half precision; otherwise 1.
        """

    def step_ended(self) -> None:
        """The weights are changed; gradients are gone."""

    def epoch_ended(self, epoch: int, values: dict[str, float]) -> None:
        """An epoch is evaluated.

        Args:
            epoch: From 1; 0 for a job that trains the head alone.
            values: Its metrics by name.
        """

    def close(self) -> None:
        """The job ends, in whatever way."""


class Observers(Observer):
    """Several observers as one."""

    def __init__(self, observers: list[Observer]) -> None:
        self._observers = observers

    def phase(self, name: str) -> AbstractContextManager[object]:
        """Return all observers' contexts as one."""
        stack = ExitStack()
        for observer in self._observers:
            stack.enter_context(observer.phase(name))
        return stack

    def training_starts(self, trainer: "Trainer") -> None:
        """Tell all."""
        for observer in self._observers:
            observer.training_starts(trainer)

    def step_starts(self) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.step_starts()

    def loss_computed(
        self, loss: "torch.Tensor", logits: "torch.Tensor", targets: "torch.Tensor"
    ) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.loss_computed(loss, logits, targets)

    def gradients_ready(self, scale: Callable[[], float]) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.gradients_ready(scale)

    def step_ended(self) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.step_ended()

    def epoch_ended(self, epoch: int, values: dict[str, float]) -> None:
        """Tell all."""
        for observer in self._observers:
            observer.epoch_ended(epoch, values)

    def close(self) -> None:
        """Close all."""
        for observer in self._observers:
            observer.close()
