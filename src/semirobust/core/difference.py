"""Whether accuracies differ by more than chance: tests over seeds or images, adjusted for their number."""

import math
from collections.abc import Sequence

__all__ = ["holm", "paired_p", "proportions_p", "unpaired_p"]


def paired_p(differences: Sequence[float], *, resolution: float) -> float:
    """Two-sided p of a mean difference of 0, by Student's t over runs that belong together in pairs.

    Args:
        differences: one for each pair, two at least.
        resolution: the least difference that can be seen, one image; runs that agree by chance have no less
            spread than that (our own choice, which makes the test more cautious).
    """
    n = len(differences)
    mean = sum(differences) / n
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    error = math.sqrt(max(variance, resolution**2) / n)
    return _student(mean, error, n - 1)


def unpaired_p(one: Sequence[float], other: Sequence[float], *, resolution: float) -> float:
    """Two-sided p of equal means, by Welch's t (1947) over runs that do not belong together.

    Args:
        one, other: two runs at least of each.
        resolution: as in :func:`paired_p`.
    """
    parts = []
    for values in (one, other):
        n, mean = len(values), sum(values) / len(values)
        variance = max(sum((v - mean) ** 2 for v in values) / (n - 1), resolution**2)
        parts.append((mean, variance / n, n - 1))
    (a, va, da), (b, vb, db) = parts
    if va + vb == 0:
        return 1.0 if a == b else 0.0
    degrees = (va + vb) ** 2 / (va**2 / da + vb**2 / db)
    return _student(a - b, math.sqrt(va + vb), degrees)


def proportions_p(one: float, other: float, n: int) -> float:
    """Two-sided p of equal proportions by Fisher's exact test (1922), each of ``n`` images.

    Where both saw the same images, as networks on one test set did, it is cautious: that they agree on most
    of them is not made use of.
    """
    from scipy.stats import fisher_exact

    right = [min(max(round(share * n), 0), n) for share in (one, other)]
    return float(fisher_exact([[k, n - k] for k in right]).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979): where each below 0.05 counts, the chance that any of
    the equal pairs is called different is 5 % at most.
    """
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = highest
    return adjusted


def _student(difference: float, error: float, degrees: float) -> float:
    from scipy.stats import t

    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * t.sf(abs(difference) / error, degrees))
