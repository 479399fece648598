"""How far a measured share may be from the true one."""

import math

_Z = 1.959964  # quantile of the normal distribution for 95 %


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test for two models on the same photos.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated
    proportions", 1947; exact by the binomial distribution.

    `only_first` and `only_second` count the photos that only one of the models gets right; the
    result, 0..1, is the probability of a difference at least as large between equal models.
    """
    count = only_first + only_second
    tail = sum(math.comb(count, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / int(2**count))


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share measured on a sample.

    It is valid for small samples and for shares near 0 and 1 too (E. B. Wilson, 1927). A `share`,
    e.g. the accuracy, is 0..1, and so are the ends; `count` is that of photos, 0 gives all of 0..1.
    """
    if count == 0:
        return 0.0, 1.0
    spread = _Z * _Z / count
    center = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, center - half), min(1.0, center + half)
