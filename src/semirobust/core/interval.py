"""Confidence intervals."""

import math
from collections.abc import Sequence

__all__ = [
    "at_least",
    "ends",
    "mean_interval",
    "proportion_interval",
    "share_interval",
    "upper_limit",
]

_ROUNDING = 1e-12  # of a difference of two shares that are equal


def proportion_interval(successes: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Exact binomial interval of a proportion (Clopper & Pearson 1934), by SciPy."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


def at_least(successes: int, n: int, p: float) -> float:
    """The probability of so many successes or more among n of probability p each."""
    if successes <= 0 or not 0 < p < 1:
        return float(successes <= 0 or (p >= 1 and successes <= n))
    logs = [
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(p)
        + (n - k) * math.log1p(-p)
        for k in range(successes, n + 1)
    ]
    return min(math.fsum(map(math.exp, logs)), 1.0)


def upper_limit(successes: int, n: int, *, level: float = 0.95) -> float:
    """What a proportion is at most, with confidence ``level``: the exact one-sided limit of Clopper & Pearson
    (1934). It needs no SciPy, whose statistics take 100 MB.
    """
    if successes >= n:
        return 1.0
    low, high = successes / n, 1.0
    for _ in range(60):
        p = (low + high) / 2
        at_most = at_least(n - successes, n, 1 - p)  # failures
        low, high = (p, high) if at_most > 1 - level else (low, p)
    return high


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


def share_interval(values: Sequence[float], n: int | None, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of shares over a few runs, by Student's t and within [0, 1].

    Runs that agree have no spread, which does not make their mean certain: then it is the exact interval of
    one of them, over its ``n`` examples.
    """
    if n and max(values) - min(values) < 0.5 / n:
        return proportion_interval(min(max(round(values[0] * n), 0), n), n, level=level)
    low, high = mean_interval(values, level=level)
    return max(low, 0.0), min(high, 1.0)


def ends(low: float, high: float, *, digits: int = 1, sign: str = "") -> tuple[str, str]:
    """The ends of an interval of shares in per cent, with further digits where they would read as one, or
    where an end of a difference would read as 0 and is not.

    Args:
        low, high: from 0 to 1.
        digits: behind the point; up to three more where the interval is narrower than these tell.
        sign: ``+`` writes it always, for differences.
    """
    low, high = (0.0 if abs(end) < _ROUNDING else end for end in (low, high))  # also for -0.0
    for places in range(digits, digits + 4):
        shown = f"{100 * low:{sign}.{places}f}", f"{100 * high:{sign}.{places}f}"
        as_zero = any(float(end) == 0 != value for end, value in zip(shown, (low, high), strict=True))
        if sign and as_zero:
            continue
        if high <= low or len({float(end) for end in shown}) > 1:
            return shown
    return shown
