"""The interface between the training loop and whatever observes a job."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass
class TrainingState:
    """What a callback sees of a job; only the loop changes it."""

    model: nn.Module  # the model being trained, on the device
    optimizer: torch.optim.Optimizer  # updates the model
    total_steps: int  # steps of the whole job
    targets: torch.Tensor  # the classes of all training photos: shape [N], int64
    world_size: int = 1  # processes that share a step
    compiled: bool = False  # whether forward passes run a compiled copy of the model
    step: int = 0  # steps done
    history: list[dict[str, float]] = field(default_factory=list)  # metrics of each epoch done


class Callback:
    """Is called as a job proceeds; by default each method does nothing.

    Tensors that a callback receives are the job's: on the device, not to be changed.
    """

    def phase(self, name: str) -> AbstractContextManager[object]:
        """Return the context that a phase such as ``"train 1"`` runs in."""
        return nullcontext()

    def on_train_begin(self, state: TrainingState) -> None:
        """Training begins at ``state.step``, which a checkpoint may have set."""

    def on_step_begin(self) -> None:
        """A step begins; forward and backward passes follow."""

    def on_loss(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """A forward pass of the step is done: logits [N, C], targets [N] int64.

        `loss` is the share of these photos in the step's mean loss: a scalar.
        """

    def on_gradients(self) -> None:
        """All backward passes of the step are done; the weights are not updated yet."""

    def on_step_end(self) -> None:
        """The weights are updated and the gradients are cleared."""

    def on_epoch_end(self, epoch: int, values: dict[str, float]) -> None:
        """An epoch, from 1, has been evaluated; it is 0 in a job that only trains the probe."""

    def close(self) -> None:
        """The job ends, whether it succeeded or not."""


def _for_each(method: Callable[..., None]) -> Callable[..., None]:
    def call(self: "Callbacks", *args: object) -> None:
        for callback in list(self._callbacks):
            try:
                getattr(callback, method.__name__)(*args)
            except Exception as error:  # what only observes a job must not fail it
                self._callbacks.remove(callback)
                name = type(callback).__name__
                print(f"warning: {name} has failed and observes no more: {error}", file=sys.stderr)

    return call


class Callbacks(Callback):
    """Several callbacks as one, called in order; one that raises is left out from then on."""

    def __init__(self, callbacks: list[Callback]) -> None:
        self._callbacks = callbacks

    def phase(self, name: str) -> AbstractContextManager[object]:
        """Return the contexts of all callbacks as one."""
        stack = ExitStack()
        for callback in self._callbacks:
            stack.enter_context(callback.phase(name))
        return stack

    on_train_begin = _for_each(Callback.on_train_begin)
    on_step_begin = _for_each(Callback.on_step_begin)
    on_loss = _for_each(Callback.on_loss)
    on_gradients = _for_each(Callback.on_gradients)
    on_step_end = _for_each(Callback.on_step_end)
    on_epoch_end = _for_each(Callback.on_epoch_end)
    close = _for_each(Callback.close)
