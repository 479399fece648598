"""Traces of some steps by torch.profiler: when each operation ran, how long, on which device."""

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from dogbreeds.system.files import atomic_write
from dogbreeds.training.callbacks import Callback, TrainingState


class Traces(Callback):
    """Writes ``steps-FIRST-END.json`` for https://ui.perfetto.dev or chrome://tracing.

    `steps` count from 0; trace only a few, as each takes a megabyte or two.
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
