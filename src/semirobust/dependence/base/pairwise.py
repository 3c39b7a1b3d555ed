"""Distances between all pairs of a sample, and the jackknife."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from semirobust.core.devices import uploaded
from semirobust.core.seed import Seed

__all__ = ["among", "distances", "jackknife"]

_EXACT = 8  # in so few dimensions distances by matrix products would lose digits


def distances(rows: Tensor) -> Tensor:
    """(n, n) Euclidean distances of (n, k), exactly 0 on the diagonal."""
    centred = rows - rows.mean(0)
    mode = "donot_use_mm_for_euclid_dist" if rows.shape[1] <= _EXACT else "use_mm_for_euclid_dist"
    return torch.cdist(centred, centred, compute_mode=mode).fill_diagonal_(0)


def among(matrix: Tensor, rows: Tensor) -> Tensor:
    """Rows and columns of a matrix of pairs: in another order, or of fewer examples."""
    return matrix[rows][:, rows]


def jackknife(
    n: int, value: Callable[[Tensor], float], groups: int, seed: Seed, device: torch.device
) -> float:
    """Standard error by the jackknife over groups of examples (Efron & Tibshirani 1993, chapter 11).

    Args:
        n: examples.
        value: the estimate from the examples with these (m,) indices.
        groups: how many; with fewer than 2 the error is NaN.
        seed: of the assignment of examples to groups.
        device: of the indices.
    """
    if groups < 2:
        return math.nan
    group_of = torch.randperm(n, generator=seed.generator()) % groups
    kept = (torch.nonzero(group_of != group).squeeze(1) for group in range(groups))
    estimates = np.array([value(uploaded(rows, device)) for rows in kept])
    return float(np.sqrt((groups - 1) / groups * np.square(estimates - estimates.mean()).sum()))
