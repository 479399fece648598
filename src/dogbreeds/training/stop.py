"""SIGTERM (Spot interruption, StopTrainingJob, `docker stop`) as a flag that the job looks at."""

import signal
from types import FrameType


class Stopped(Exception):  # noqa: N818  (an event, not an error)
    """The job was asked to stop: save what there is and end."""


class StopRequest:
    """Remembers SIGTERM and SIGINT from its creation on.

    Attributes:
        received: Whether a signal came.
    """

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._remember)

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self.received = True

    def check(self, *_: object) -> None:
        """Raise if a stop was asked for; called between steps, where all state is whole.

        Raises:
            Stopped: A signal came.
        """
        if self.received:
            raise Stopped
