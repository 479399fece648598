"""What a job was doing when: for system metrics to be told apart by."""

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
        """Start with no phase.

        Args:
            file: Where to write; what an earlier run of a resumed job wrote there is kept.
        """
        self._file = file
        self._earlier: list[dict[str, Any]] = []
        with contextlib.suppress(OSError, ValueError):
            self._earlier = json.loads(file.read_text())
        self._phases: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Note when the context began and ended."""
        start = time.time()
        try:
            yield
        finally:
            self._phases.append({"name": name, "start": start, "end": time.time()})
            write_json(self._file, self._earlier + self._phases)

    def on_train_begin(self, state: TrainingState) -> None:
        """Forget phases of another job in the same place."""
        if state.step == 0:
            self._earlier = []
