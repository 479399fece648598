"""The search space of hyperparameter tuning, on SageMaker and elsewhere."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class LogUniform:
    """A number from `low` to `high`, uniform on a logarithmic scale."""

    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[str | int, ...]


SEARCH_SPACE: dict[str, LogUniform | Choice] = {
    "lr": LogUniform(1e-4, 1e-2),
    "batch_size": Choice((16, 32, 64)),
    "epochs": Choice((5, 10, 20)),
    "optimizer": Choice(("adam", "sgd")),
}
"""By hyperparameter name (`dogbreeds.training.settings`)."""


def searched(fixed: Iterable[str]) -> dict[str, LogUniform | Choice]:
    """Return the part of the search space without fixed hyperparameters, in either spelling."""
    names = {name.replace("-", "_") for name in fixed}
    return {name: space for name, space in SEARCH_SPACE.items() if name not in names}
