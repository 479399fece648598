"""What a job was doing when, so that system metrics can be split by phase."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dogbreeds.system.files import write_json
from dogbreeds.training.callbacks import Callback, TrainingState


class Phases(Callback):
    """Writes a job's phases: a list of ``name``, ``start`` and ``end`` in seconds since 1970."""

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
            with contextlib.suppress(OSError):  # without it the job goes on
                write_json(self._file, self._earlier + self._phases)

    def on_train_begin(self, state: TrainingState) -> None:
        """Drop the phases of another job that wrote to the same file."""
        if state.step == 0:
            self._earlier = []
