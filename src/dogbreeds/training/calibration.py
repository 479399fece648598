"""Temperature scaling: Guo et al., "On calibration of modern neural networks", 2017."""

import math

import torch
from torch.nn import functional as F  # noqa: N812

_RANGE = (0.05, 20.0)
_BINS = 10


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Find the temperature T whose ``softmax(logits / T)`` has the lowest cross-entropy.

    One photo of unknown class is added to the N given ones: without it, T would be 0 for a model
    without mistakes, and each later mistake would have an infinite loss. `logits` are float32
    [N, C] with N at least 1, `targets`, the true classes, int64 [N]. T is from 0.05 to 20: the
    cross-entropy is convex in 1 / T, so Brent's method over log T finds its minimum.
    """
    from scipy.optimize import minimize_scalar  # takes half a second to import

    smoothing = 1 / (len(targets) + 1)
    logits = logits.double()  # float32 is too coarse near the minimum

    def loss(log_t: float) -> float:
        scaled = logits / math.exp(log_t)
        return F.cross_entropy(scaled, targets, label_smoothing=smoothing).item()

    found = minimize_scalar(loss, bounds=[math.log(end) for end in _RANGE], method="bounded",
                            options={"xatol": 1e-8})  # fmt: skip
    return math.exp(found.x)


def expected_calibration_error(confidences: torch.Tensor, right: torch.Tensor) -> float:
    """Return the mean difference between confidence and accuracy (ECE), 0..1.

    `confidences` [N], 0..1, are the probabilities of the predicted classes, `right` [N], bool, says
    which predictions are right. Mean confidence and accuracy are compared in each of 10 intervals
    of equal width; the differences are weighted by its photos.
    """
    index = (confidences * _BINS).long().clamp(max=_BINS - 1)
    difference = right.double() - confidences.double()
    gaps = torch.zeros(_BINS, dtype=torch.float64).index_add(0, index, difference)
    return (gaps.abs().sum() / len(right)).item()
