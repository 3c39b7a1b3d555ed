"""A bootstrap over batches of examples."""

import numpy as np

from semirobust.core.seed import Seed
from semirobust.layers.scores import Floats

__all__ = ["bootstrap_means"]


def bootstrap_means(values: Floats, unit: int, resamples: int, seed: Seed) -> Floats:
    """Means per example in each resample: (Q, N, L) -> (Q, resamples, L).

    Units of ``unit`` consecutive examples are drawn with replacement. A resample is a weight for each unit,
    so that all of them are one product.
    """
    n = values.shape[1]
    starts = np.arange(0, n, unit)
    sums = np.add.reduceat(values, starts, axis=1)
    counts = np.diff(np.append(starts, n)).astype(np.float64)
    rng = np.random.default_rng(seed.integer)
    chosen = rng.integers(0, len(starts), (resamples, len(starts)))
    weights = np.stack([np.bincount(row, minlength=len(starts)) for row in chosen]).astype(np.float64)
    return np.einsum("ru,qul->qrl", weights, sums) / (weights @ counts)[None, :, None]
