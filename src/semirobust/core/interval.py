"""Confidence intervals."""

import math
from collections.abc import Sequence

__all__ = ["mean_interval", "proportion_interval"]


def proportion_interval(successes: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Exact binomial interval of a proportion (Clopper & Pearson 1934), by SciPy."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


def mean_interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of a few runs by Student's t; (-inf, inf) for a single run."""
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return -math.inf, math.inf
    mean = sum(values) / n
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(t.ppf((1 + level) / 2, n - 1)) * deviation / math.sqrt(n)
    return mean - half, mean + half
