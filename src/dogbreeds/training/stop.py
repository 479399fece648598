"""SIGTERM (Spot interruption, StopTrainingJob, `docker stop`) as a flag that the job checks."""

import signal
from types import FrameType


class Stopped(Exception):  # noqa: N818  (an event, not an error)
    """A stop was requested: save the state and end."""


class StopRequest:
    """Records in `received` whether SIGTERM or SIGINT came since its creation."""

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._remember)

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self.received = True

    def check(self, *_: object) -> None:
        """Raise `Stopped` if a signal came; for use where the state is consistent."""
        if self.received:
            raise Stopped
