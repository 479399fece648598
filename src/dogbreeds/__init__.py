"""Train and serve an image classifier on Amazon SageMaker, on a GPU box or on a laptop."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dogbreeds.classifier import Classifier
    from dogbreeds.cloud.images.uri import image_uri
    from dogbreeds.data.folders import SPLITS as CHANNELS
    from dogbreeds.job_output.metrics import METRIC_DEFINITIONS
    from dogbreeds.serving.codecs import CONTENT_TYPES
    from dogbreeds.training.search_space import SEARCH_SPACE

__version__ = "0.2.0"

__all__ = [
    "CHANNELS", "CONTENT_TYPES", "METRIC_DEFINITIONS", "SEARCH_SPACE", "Classifier", "__version__",
    "image_uri",
]  # fmt: skip

_PLACES = {
    "Classifier": "classifier:Classifier",
    "CHANNELS": "data.folders:SPLITS",
    "CONTENT_TYPES": "serving.codecs:CONTENT_TYPES",
    "METRIC_DEFINITIONS": "job_output.metrics:METRIC_DEFINITIONS",
    "SEARCH_SPACE": "training.search_space:SEARCH_SPACE",
    "image_uri": "cloud.images.uri:image_uri",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
