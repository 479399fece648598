"""Callbacks that record a job: its phases, TensorBoard's event files, and traces of some steps."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from dogbreeds.system.files import atomic_write, write_json
from dogbreeds.training.callbacks import Callback, TrainingState


class Phases(Callback):
    """Writes what a job did when, so that system metrics can be split by phase.

    The file is a list of ``name``, ``start`` and ``end`` in seconds since 1970.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._earlier: list[dict[str, Any]] = []  # written by the run that a job resumes
        with contextlib.suppress(OSError, ValueError):
            self._earlier = json.loads(file.read_text())
        self._phases: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Record when the context was entered and left."""
        start = time.time()
        try:
            yield
        finally:
            self._phases.append({"name": name, "start": start, "end": time.time()})
            write_json(self._file, self._earlier + self._phases)

    def on_train_begin(self, state: TrainingState) -> None:
        """Drop the phases of another job that wrote to the same file."""
        if state.step == 0:
            self._earlier = []


class TensorBoard(Callback):
    """Writes each epoch's metrics as scalars, with the log's names and epochs.

    ImportError if tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder, self._open = folder, SummaryWriter
        self._writer: SummaryWriter | None = None

    def on_train_begin(self, state: TrainingState) -> None:
        """Start a file with the epochs done; it replaces those of earlier runs."""
        for file in self._folder.glob("events.out.tfevents.*"):
            file.unlink()
        self._writer = self._open(str(self._folder))
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


class Traces(Callback):
    """Writes when each operation of some steps ran, by torch.profiler, to ``steps-FIRST-END.json``.

    The file is for https://ui.perfetto.dev or chrome://tracing. `steps` count from 0; trace only a
    few, as each takes a megabyte or two.
    """

    def __init__(self, folder: Path, steps: range) -> None:
        self._folder = folder
        self._steps = steps
        self._state: TrainingState
        self._profile: profile | None = None

    def on_train_begin(self, state: TrainingState) -> None:
        """Log it if the run lacks some of the steps."""
        self._state = state
        if not state.step < self._steps.stop <= state.total_steps:
            print(
                f"profile_steps: steps {self._steps.start} to {self._steps.stop} are not all among"
                f" those of this run, {state.step} to {state.total_steps}",
                flush=True,
            )

    def on_step_begin(self) -> None:
        """Start with the first step."""
        if self._profile is None and self._state.step in self._steps:
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self._profile = profile(activities=activities)
            self._profile.start()

    def on_step_end(self) -> None:
        """Stop after the last step."""
        if self._profile is not None and self._state.step + 1 >= self._steps.stop:
            self.close()

    def close(self) -> None:
        """Write the steps traced so far."""
        if self._profile is not None:
            self._profile.stop()
            name = f"steps-{self._steps.start}-{self._steps.stop}.json"
            with atomic_write(self._folder / name) as partial:
                self._profile.export_chrome_trace(str(partial))
            self._profile = None
