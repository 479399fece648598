"""How far a measured share may be from the true one."""

import math

_Z = 1.959964  # of the normal distribution, for 95 %


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share that was measured on a sample.

    It holds for small samples and for shares near 0 and 1, too (E. B. Wilson, 1927).

    Args:
        share: What was measured, e.g. the accuracy, 0..1.
        count: On how many photos.

    Returns:
        Lower and upper end, 0..1; all of it for a count of 0.
    """
    if count == 0:
        return 0.0, 1.0
    spread = _Z * _Z / count
    center = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, center - half), min(1.0, center + half)
