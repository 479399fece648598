"""The training loop: epochs, steps, checkpoints.

Every random number is drawn from a generator seeded by the job's seed and the step or epoch, so
the loop can stop after any step and resume there.
"""

import contextlib
import functools
import math
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812
from torch.optim.swa_utils import AveragedModel

from dogbreeds.job_output.metrics import metrics_line, summary_line
from dogbreeds.system.terminal import progress_bar
from dogbreeds.training.augmentation import DRAWS, augment
from dogbreeds.training.batch_norm import set_training_mode
from dogbreeds.training.callbacks import Callback, TrainingState
from dogbreeds.training.checkpoint import load_checkpoint, save_checkpoint
from dogbreeds.training.device import Batch, Device, PixelStore
from dogbreeds.training.distributed import Cluster, Vote, VoteCount
from dogbreeds.training.memory import does_not_fit, runs_out
from dogbreeds.training.optimizer import create_optimizer, set_learning_rate
from dogbreeds.training.selection import Result, Selection
from dogbreeds.training.settings import Settings, SettingsError
from dogbreeds.training.stop import Stopped, StopRequest
from dogbreeds.training.weight_average import weight_average

_SEED_STRIDE = 1_000_003  # a prime above any number of steps keeps seeds distinct
_MOST_PROCESSES = 1024


class Trainer:
    """A training job in progress.

    Attributes:
        model: The model being trained, on the device.
        optimizer: Updates the model.
        state: What callbacks see: steps done, the history of epochs.
        selection: Evaluates, and selects the model to save.
    """

    def __init__(
        self, model: torch.nn.Module, settings: Settings, splits: dict[str, PixelStore],
        device: Device, checkpoints: Path, stop: StopRequest, cluster: Cluster | None = None,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Set up a job at step 0.

        The model is on the device, channels-last; its head may be trained already. The splits are
        ``train``, ``valid`` (to choose by) and optionally ``test``. SettingsError if a step has
        fewer photos than forward passes.
        """
        self.settings, self.splits, self.device = settings, splits, device
        self.checkpoints, self.stop = checkpoints, stop
        self.cluster = cluster or Cluster()
        self.callback = callback or Callback()
        self.batch_size = min(settings.batch_size, len(splits["train"]))
        passes = self.cluster.size * settings.gradient_accumulation_steps
        if self.batch_size < passes:
            raise SettingsError(
                f"hyperparameter batch_size: expected at least {passes} photos per step, as many as"
                f" forward passes in all processes, got {self.batch_size}"
            )
        # Drop the last, incomplete batch; other epochs have another order.
        steps = len(splits["train"]) // self.batch_size
        self.steps_per_epoch = max(steps, settings.min_steps_per_epoch)

        self.model = self.cluster.convert(model)
        self.optimizer = create_optimizer(self.model, settings)
        total_steps, targets = settings.epochs * self.steps_per_epoch, splits["train"].targets
        self.state = TrainingState(
            self.model, self.optimizer, total_steps, targets, self.cluster.size, settings.compile
        )
        self.selection = Selection(settings, splits, device, self.cluster, stop, self.batch_size)
        self._average: AveragedModel | None = None  # starts with the first step
        # float16 alone, with 5 bits of exponent, needs loss scaling.
        kind = device.device.type
        self._scaler = torch.amp.GradScaler(kind, enabled=device.half is torch.float16)
        self._wrapped = self._forward = self.cluster.wrap(self.model)
        if settings.compile:
            self._forward = torch.compile(self._wrapped)  # type: ignore[assignment]
        self._votes = VoteCount(self.cluster)
        self._loss_sum = torch.zeros((), device=device.device)
        self._epoch_seconds = 0.0
        self._last_checkpoint = time.monotonic()
        self._identity: dict[str, Any] = {}

    @property
    def history(self) -> list[dict[str, float]]:
        """Metrics of each epoch done."""
        return self.state.history

    @property
    def result(self) -> Result:
        """The model to save at this step."""
        return self.selection.result(self._evaluated, self.history)

    @property
    def _evaluated(self) -> torch.nn.Module:
        return self._average.module if self._average else self.model

    def run(self, on_epoch: Callable[[], None]) -> None:
        """Train until the last step; call `on_epoch` once `history` has an epoch's metrics.

        Raises:
            Stopped: A stop was requested; the last step has a checkpoint.
            FloatingPointError: The loss is no longer finite.
            SettingsError: A step does not fit into the GPU's memory.
        """
        if self.state.step == 0:
            self.cluster.broadcast_weights(self.model)
            if self.settings.ema_decay:
                self._average = weight_average(self.model, self.settings.ema_decay)
        self.callback.on_train_begin(self.state)
        if self.settings.epochs == 0:
            with self.callback.phase("evaluate 0"):
                values = self.evaluate()
            self._record(0, values)
        while len(self.history) < self.settings.epochs:
            epoch = len(self.history) + 1
            with self.callback.phase(f"train {epoch}"):
                self._train_epoch(epoch)
            self._end_epoch(epoch)
            on_epoch()

    def _train_epoch(self, epoch: int) -> None:
        generator = torch.Generator().manual_seed(self.settings.seed * _SEED_STRIDE + epoch)
        photos, used = len(self.splits["train"]), self.steps_per_epoch * self.batch_size
        passes = range(math.ceil(used / photos))  # more than one in a small set
        order = torch.cat([torch.randperm(photos, generator=generator) for _ in passes])
        first = self.state.step - (epoch - 1) * self.steps_per_epoch
        # Split this process's positions in a batch into one part per forward pass.
        share = self.cluster.part(torch.arange(self.batch_size))
        parts = share.tensor_split(self.settings.gradient_accumulation_steps)
        batches = self.splits["train"].batches(
            order[position * self.batch_size + part]
            for position in range(first, self.steps_per_epoch)
            for part in parts
        )
        set_training_mode(self.model, keep_statistics=self.settings.weights != "none")
        started = time.monotonic() - self._epoch_seconds
        label = f"Epoch {epoch}/{self.settings.epochs}"
        bar = progress_bar(label, used, first * self.batch_size, shown=self.cluster.is_main)
        with contextlib.closing(batches), bar:
            for _ in range(first, self.steps_per_epoch):
                if runs_out(functools.partial(self._train_step, batches, parts)):
                    raise self._memory_error(len(parts))
                self._epoch_seconds = time.monotonic() - started
                bar.update(self.batch_size)
                self._between_steps()
            self._loss_sum.item()  # wait for the GPU, on which the steps were only started
            self._epoch_seconds = time.monotonic() - started

    def _train_step(self, batches: Iterator[Batch], parts: tuple[torch.Tensor, ...]) -> None:
        """Run one step; nothing here waits for the GPU."""
        settings = self.settings
        self.callback.on_step_begin()
        seed = settings.seed * _SEED_STRIDE + self.state.step
        # Augmentation is drawn for the whole batch, so it does not depend on the processes ...
        draw = torch.rand(DRAWS, self.batch_size, generator=torch.Generator().manual_seed(seed))
        # ... while dropout differs between them.
        torch.manual_seed(seed * _MOST_PROCESSES + self.cluster.rank)
        set_learning_rate(self.optimizer, self.state.step, self.state.total_steps, settings.warmup)
        for part in parts:
            pixels, targets = next(batches)
            loss = self._forward_loss(pixels, targets, draw[:, part])
            # DDP averages gradients, with the last part: the factor makes the mean a sum.
            wait = part is not parts[-1] and self.cluster.size > 1
            with self._wrapped.no_sync() if wait else contextlib.nullcontext():  # type: ignore[operator]
                self._scaler.scale(loss * self.cluster.size).backward()  # type: ignore[no-untyped-call]
            self._loss_sum += loss.detach()
        self._scaler.unscale_(self.optimizer)
        self.callback.on_gradients()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self._average:
            self._average.update_parameters(self.model)
        self.callback.on_step_end()
        self.state.step += 1

    def _forward_loss(
        self, pixels: torch.Tensor, targets: torch.Tensor, draw: torch.Tensor
    ) -> torch.Tensor:
        """Return the share of these photos in the batch's mean loss."""
        settings, photos = self.settings, self.splits["train"]
        kind = settings.augmentation_strength
        augmented = augment(pixels, settings.image_size, draw, kind, flip=settings.horizontal_flip)
        images = photos.preprocessing.normalize(augmented)
        with self.device.autocast():
            logits = self._forward(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(
            logits.float(), targets, label_smoothing=settings.label_smoothing, reduction="sum"
        )
        loss = loss / self.batch_size
        self.callback.on_loss(loss, logits, targets)
        return loss

    def _memory_error(self, passes: int) -> SettingsError:
        """Return the error of a step that does not fit, after a search for what does."""

        def run(photos: int) -> None:
            [(pixels, targets)] = self.splits["train"].batches([torch.arange(photos)])
            self._forward_loss(pixels, targets, torch.rand(DRAWS, photos)).backward()  # type: ignore[no-untyped-call]

        # One of several processes would wait for the others, so it tries nothing.
        return does_not_fit(run if self.cluster.size == 1 else None, self.batch_size, passes)

    def _between_steps(self) -> None:
        due = time.monotonic() - self._last_checkpoint > self.settings.checkpoint_seconds
        vote = Vote.STOP if self.stop.received else Vote.CONTINUE
        if vote is Vote.CONTINUE and due and self.cluster.is_main:
            vote = Vote.CHECKPOINT
            self._last_checkpoint = time.monotonic()  # vote once
        if (decision := self._votes.cast(vote)) is not Vote.CONTINUE:
            self.checkpoint()
        if decision is Vote.STOP:
            raise Stopped

    def _end_epoch(self, epoch: int) -> None:
        """Evaluate and log the epoch, and write its checkpoint."""
        train_loss = self.cluster.sum(self._loss_sum).item() / self.steps_per_epoch
        if not math.isfinite(train_loss):
            raise FloatingPointError(
                f"the train loss of epoch {epoch} is {train_loss}: choose a smaller lr"
            )
        try:
            with self.callback.phase(f"evaluate {epoch}"):
                values = {"train_loss": train_loss, **self.evaluate()}
        except Stopped:  # a resumed job evaluates again
            self.checkpoint()
            raise
        values["photos_per_second"] = self.steps_per_epoch * self.batch_size / self._epoch_seconds
        values["epoch_seconds"] = self._epoch_seconds
        values["learning_rate"] = max(group["lr"] for group in self.optimizer.param_groups)
        values["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB
        self._loss_sum.zero_()
        self._epoch_seconds = 0.0
        self._record(epoch, values)
        self.checkpoint()

    def _record(self, epoch: int, values: dict[str, float]) -> None:
        self.history.append(values)
        self.callback.on_epoch_end(epoch, values)
        if self.cluster.is_main:  # one write for both lines keeps other output out of them
            summary = summary_line(epoch, self.settings.epochs, values)
            print(f"{summary}\n{metrics_line(epoch, values)}", flush=True)

    def evaluate(self) -> dict[str, float]:
        """Return the metrics of the current step; see `Selection.evaluate` for the errors."""
        last = self.state.step == self.state.total_steps
        return self.selection.evaluate(self._evaluated, last=last)

    def resume(self, identity: dict[str, Any]) -> bool:
        """Resume from the newest checkpoint and return whether there was one.

        CheckpointError if it does not match `identity`, e.g. classes and hyperparameters.
        """
        self._identity, main = identity, self.cluster.is_main
        loaded = load_checkpoint(self.checkpoints, identity) if main else None
        if (state := self.cluster.broadcast(loaded)) is None:
            return False
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if state["average"]:
            self._average = weight_average(self.model, self.settings.ema_decay)
            self._average.load_state_dict(state["average"])
        self.selection.load_state_dict(state)
        self.state.step = state["step"]
        self.state.history.extend(state["history"])
        if main:  # it is the sum of all processes
            self._loss_sum.copy_(state["loss_sum"])
        self._epoch_seconds = state["epoch_seconds"]
        return True

    def checkpoint(self) -> None:
        """Write a checkpoint (see `save_checkpoint`); all processes take part."""
        state = {
            "identity": self._identity,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            **self.selection.state_dict(),
            "average": self._average.state_dict() if self._average else {},
            "step": self.state.step,
            "history": self.history,
            "loss_sum": self.cluster.sum(self._loss_sum),
            "epoch_seconds": self._epoch_seconds,
        }
        if self.cluster.is_main:
            save_checkpoint(self.checkpoints, self.state.step, state)
        self._last_checkpoint = time.monotonic()
