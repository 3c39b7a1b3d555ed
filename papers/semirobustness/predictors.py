"""The table of measures of dependence: which predicts how well training the suffix recovers f*."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from semirobust.records import Number, Quantity
from semirobust.reports import Source, table

from .numbers import gap_to_robust, layer_count, mean, suffix_sizes

__all__ = ["predictors"]

_Floats = NDArray[np.float64]
_Point = tuple[int, float, float]

_PERMUTATIONS = 9999


def predictors(source: Source) -> str:
    """One row for each measure of dependence: its correlation with the gap that training leaves."""
    numbers = source.of(Quantity.MEASURE, measure="connectivity", unit="dependences")
    names = list(dict.fromkeys(n.about.estimator for n in numbers))
    rows = [
        (name, *_correlations(source, [n for n in numbers if n.about.estimator == name])) for name in names
    ]
    head = (
        "measure",
        "before training, across the cut",
        "before, mean of the suffix",
        "its change in training",
    )
    return table(head, rows)


def _correlations(source: Source, numbers: Sequence[Number]) -> list[str]:
    """Of each kind of dependence with the gap that is left: triples of cut, dependence, gap."""
    kinds: tuple[list[_Point], ...] = ([], [], [])
    for size in suffix_sizes(source):
        first = layer_count(source) - size + 1
        here = [n for n in numbers if n.about.suffix == size and (n.about.layer or 0) >= first]
        for seed, gap in gap_to_robust(source, size).values.items():
            own = [n for n in here if n.about.seed == seed]
            before, after = ([n for n in own if n.about.arm == when] for when in ("start", "end"))
            across = [n.value for n in before if n.about.layer == first]
            if across and after:
                found = (across[0], mean(before), mean(after) - mean(before))
                for points_, value in zip(kinds, found, strict=True):
                    points_.append((size, value, gap))
    return [_rank_correlation(points_) for points_ in kinds]


def _rank_correlation(points_: Sequence[_Point]) -> str:
    """Spearman's over the means of the cuts; and within cuts, with the p-value of permuting seeds within
    them.
    """
    cuts = sorted({cut for cut, _, _ in points_})
    if len(cuts) < 3 or len(points_) <= len(cuts):
        return "–"
    groups = [np.array([(value, gap) for c, value, gap in points_ if c == cut]) for cut in cuts]
    between = spearmanr([g[:, 0].mean() for g in groups], [g[:, 1].mean() for g in groups]).statistic
    values, gaps = ([g[:, side] - g[:, side].mean() for g in groups] for side in (0, 1))
    within = _correlation(values, gaps)
    random = np.random.default_rng(0)
    null = [_correlation([random.permutation(v) for v in values], gaps) for _ in range(_PERMUTATIONS)]
    p = (1 + sum(abs(found) >= abs(within) - 1e-12 for found in null)) / (1 + _PERMUTATIONS)
    return f"{between:+.2f} / {within:+.2f} (p {p:.2f})"


def _correlation(values: Sequence[_Floats], gaps: Sequence[_Floats]) -> float:
    a, b = np.concatenate(values), np.concatenate(gaps)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else 0.0
