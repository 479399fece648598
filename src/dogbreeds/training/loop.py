"""The training loop: steps, epochs, checkpoints.

Every random number is drawn from a generator seeded by the job's seed and the step or epoch, so
the loop can be left after any step and entered again there.
"""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dogbreeds.training.augment import augment
from dogbreeds.training.checkpoint import load_checkpoint, save_checkpoint
from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.evaluation import evaluate
from dogbreeds.training.metrics import metrics_line, summary_line
from dogbreeds.training.optimizer import create_optimizer, set_learning_rate
from dogbreeds.training.progress import progress_bar
from dogbreeds.training.settings import Settings
from dogbreeds.training.stop import StopRequest

_SEED_STRIDE = 1_000_003  # a prime above any number of steps, so that seeds do not overlap


class Trainer:
    """A training job in progress.

    Attributes:
        model: The model being trained, on the device.
        step: Steps done, of ``total_steps``.
        history: Metrics of each epoch done.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Settings,
        splits: dict[str, PixelStore],
        device: Device,
        checkpoints: Path,
        stop: StopRequest,
    ) -> None:
        """Set up a job at step 0.

        Args:
            model: On the device, channels-last.
            settings: The hyperparameters.
            splits: ``train`` and at least one of ``valid`` and ``test``.
            device: Where to run.
            checkpoints: The checkpoint directory.
            stop: Asked after every step.
        """
        self.model = model
        self.settings = settings
        self.splits = splits
        self.device = device
        self.checkpoints = checkpoints
        self.stop = stop
        self.step = 0
        self.history: list[dict[str, float]] = []
        self._optimizer = create_optimizer(model, settings)
        # Photos that do not fill the last batch wait for another epoch's order.
        self.steps_per_epoch = max(1, len(splits["train"]) // settings.batch_size)
        self.total_steps = settings.epochs * self.steps_per_epoch
        self._loss_sum = torch.zeros((), device=device.device)
        self._epoch_seconds = 0.0
        self._last_checkpoint = time.monotonic()

    def resume(self, identity: dict[str, Any]) -> bool:
        """Go on from the newest checkpoint, if there is one.

        Args:
            identity: What makes a job the same job, e.g. its classes and hyperparameters.

        Returns:
            Whether there was one.

        Raises:
            CheckpointError: There is one of another job.
        """
        self._identity = identity
        state = load_checkpoint(self.checkpoints, identity)
        if state is None:
            return False
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.history = state["history"]
        self._loss_sum.copy_(state["loss_sum"])
        self._epoch_seconds = state["epoch_seconds"]
        return True

    def checkpoint(self) -> None:
        """Write a checkpoint of the current step.

        Raises:
            OSError: It cannot be written; earlier ones stay.
        """
        state = {
            "identity": self._identity,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "history": self.history,
            "loss_sum": self._loss_sum,
            "epoch_seconds": self._epoch_seconds,
        }
        save_checkpoint(self.checkpoints, self.step, state)
        self._last_checkpoint = time.monotonic()

    def run(self, on_epoch: Callable[[], None]) -> None:
        """Train until the last step.

        Args:
            on_epoch: Called after each epoch, when its metrics stand in `history`.

        Raises:
            Stopped: The job was asked to stop; a checkpoint of the last step is written.
            FloatingPointError: The loss is no finite number any more.
        """
        if self.settings.epochs == 0:
            self._record(0, self.evaluate())
        while len(self.history) < self.settings.epochs:
            epoch = len(self.history) + 1
            self._train_epoch(epoch)
            self._end_epoch(epoch)
            on_epoch()

    def _train_epoch(self, epoch: int) -> None:
        photos = self.splits["train"]
        batch_size = min(self.settings.batch_size, len(photos))
        generator = torch.Generator().manual_seed(self.settings.seed * _SEED_STRIDE + epoch)
        order = torch.randperm(len(photos), generator=generator)
        first = self.step - (epoch - 1) * self.steps_per_epoch
        label = f"Epoch {epoch}/{self.settings.epochs}"
        self.model.train()
        started = time.monotonic()
        before = self._epoch_seconds
        with progress_bar(label, self.steps_per_epoch * batch_size, first * batch_size) as bar:
            for position in range(first, self.steps_per_epoch):
                index = order[position * batch_size : (position + 1) * batch_size]
                self._train_step(*photos.batch(index))
                self._epoch_seconds = before + time.monotonic() - started
                bar.update(batch_size)
                self._between_steps()

    def _train_step(self, pixels: torch.Tensor, targets: torch.Tensor) -> None:
        """Make one step; nothing here waits for the GPU."""
        settings = self.settings
        torch.manual_seed(settings.seed * _SEED_STRIDE + self.step)
        set_learning_rate(self._optimizer, self.step, self.total_steps, settings.warmup)
        preprocessing = self.splits["train"].preprocessing
        images = preprocessing.normalize(augment(pixels, preprocessing.image_size))
        with self.device.autocast():
            logits = self.model(images.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits, targets, label_smoothing=settings.label_smoothing)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._loss_sum += loss.detach().float()
        self.step += 1

    def _between_steps(self) -> None:
        try:
            self.stop.check()
        except BaseException:
            self.checkpoint()
            raise
        if time.monotonic() - self._last_checkpoint > self.settings.checkpoint_seconds:
            self.checkpoint()

    def _end_epoch(self, epoch: int) -> None:
        """Evaluate, log and remember the epoch, and write its checkpoint."""
        seconds = self._epoch_seconds
        photos = self.steps_per_epoch * min(self.settings.batch_size, len(self.splits["train"]))
        train_loss = self._loss_sum.item() / self.steps_per_epoch
        if not torch.isfinite(self._loss_sum):
            raise FloatingPointError(
                f"the train loss of epoch {epoch} is {train_loss}: choose a smaller lr"
            )
        values = {"train_loss": train_loss, **self.evaluate()}
        values["photos_per_second"] = photos / seconds
        values["seconds"] = seconds
        # Linux gives the peak resident size in KiB.
        values["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self._loss_sum.zero_()
        self._epoch_seconds = 0.0
        self._record(epoch, values)
        self.checkpoint()

    def _record(self, epoch: int, values: dict[str, float]) -> None:
        self.history.append(values)
        # One write for both lines, so that no other output lands inside them.
        print(
            f"{summary_line(epoch, self.settings.epochs, values)}\n{metrics_line(epoch, values)}",
            flush=True,
        )

    def evaluate(self) -> dict[str, float]:
        """Return loss, accuracy and top-5 of each split but ``train``, by metric name."""
        values: dict[str, float] = {}
        batch_size = 2 * self.settings.batch_size  # no gradients: twice the photos fit
        for name, photos in self.splits.items():
            if name == "train":
                continue
            with progress_bar(f"Evaluate {name}", len(photos)) as bar:
                result = evaluate(self.model, photos, self.device, batch_size, bar.update)
            values[f"{name}_loss"] = result.loss
            values[f"{name}_accuracy"] = result.accuracy
            values[f"{name}_top5"] = result.top5
        return values
