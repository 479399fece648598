"""Temperature scaling: Guo et al., "On calibration of modern neural networks", 2017."""

import math

import torch
from torch.nn import functional as F  # noqa: N812

_RANGE = (0.05, 20.0)
_ITERATIONS = 40  # each shrinks the interval of log T by 0.618: to 3e-8 of the range
_GOLDEN = (math.sqrt(5) - 1) / 2
_BINS = 10


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Find the temperature T whose ``softmax(logits / T)`` has the lowest cross-entropy.

    One photo of unknown class is added to the N given ones: without it, T would be 0 for a model
    without mistakes, and each later mistake would have an infinite loss. `logits` are float32
    [N, C] with N at least 1, `targets`, the true classes, int64 [N]. T is from 0.05 to 20: the
    cross-entropy is convex in 1 / T, so golden-section search over log T finds its minimum.
    """
    smoothing = 1 / (len(targets) + 1)
    logits = logits.double()  # float32 is too coarse near the minimum

    def loss(log_t: float) -> float:
        scaled = logits / math.exp(log_t)
        return F.cross_entropy(scaled, targets, label_smoothing=smoothing).item()

    low, high = map(math.log, _RANGE)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(_ITERATIONS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(right)
    return math.exp((low + high) / 2)


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
