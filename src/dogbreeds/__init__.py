"""Train and serve an image classifier on Amazon SageMaker, on a GPU box or on a laptop."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dogbreeds.classifier import Classifier
    from dogbreeds.job_output.metrics import METRIC_DEFINITIONS
    from dogbreeds.training.search_space import SEARCH_SPACE

__version__ = "0.2.0"

__all__ = ["METRIC_DEFINITIONS", "SEARCH_SPACE", "Classifier", "__version__"]

_PLACES = {
    "Classifier": "classifier",
    "METRIC_DEFINITIONS": "job_output.metrics",
    "SEARCH_SPACE": "training.search_space",
}


def __getattr__(name: str) -> object:
    """Import a public name at its first use (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
