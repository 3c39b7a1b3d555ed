"""Distances between all pairs of a sample, and errors by leaving groups out."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from semirobust.seed import Seed

__all__ = ["distances", "jackknife", "permuted", "subsample"]

_GROUPS = 10
_EXACT = 8  # by products, distances in few dimensions lose digits


def subsample(x: Tensor, y: Tensor, most: int, seed: Seed) -> tuple[Tensor, Tensor]:
    """At most ``most`` examples of (k, N) on both sides, drawn without replacement, as rows (n, k)."""
    n = x.shape[1]
    if n <= most:
        return x.T.contiguous(), y.T.contiguous()
    chosen = torch.randperm(n, generator=seed.generator())[:most].sort().values.to(x.device)
    return x[:, chosen].T.contiguous(), y[:, chosen].T.contiguous()


def distances(rows: Tensor) -> Tensor:
    """(n, n) Euclidean distances of (n, k), exactly 0 on the diagonal."""
    centred = rows - rows.mean(0)
    mode = "donot_use_mm_for_euclid_dist" if rows.shape[1] <= _EXACT else "use_mm_for_euclid_dist"
    return torch.cdist(centred, centred, compute_mode=mode).fill_diagonal_(0)


def permuted(matrix: Tensor, order: Tensor) -> Tensor:
    """Rows and columns of a matrix of pairs in another order."""
    return matrix[order][:, order]


def jackknife(n: int, value: Callable[[Tensor], float], device: torch.device) -> float:
    """Standard error from ten estimates, each with another tenth of the examples left out (Efron & Tibshirani 1993, chapter 11).

    Args:
        n: examples.
        value: the estimate from the examples with these (m,) indices.
        device: of the indices.
    """
    groups = torch.arange(n, device=device) % _GROUPS
    found = np.array([value(torch.nonzero(groups != group).squeeze(1)) for group in range(_GROUPS)])
    return float(np.sqrt((_GROUPS - 1) / _GROUPS * np.square(found - found.mean()).sum()))
