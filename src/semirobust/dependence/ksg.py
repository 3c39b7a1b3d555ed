"""Mutual information from distances to nearest neighbours."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import digamma
from torch import Tensor

from semirobust.core.checks import check_counts
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.dependence import DEPENDENCES
from semirobust.dependence.base.buckets import multipliers
from semirobust.dependence.base.dependence import Orders, Shapes
from semirobust.dependence.base.estimate import Raw
from semirobust.dependence.base.pairwise import among, distances
from semirobust.dependence.base.rounding import deviations
from semirobust.dependence.base.sketched import AbstractSketched

__all__ = ["KSG"]

Floats = NDArray[np.floating]
_TREE_DIMENSIONS = 6  # in more dimensions a tree visits most of the points
_NOISE = 1e-10  # relative size of the noise that breaks ties
_EQUAL = 1e-7  # of the largest distance: nearer than this are examples that differ by noise alone


@DEPENDENCES.register("ksg")
@dataclass(frozen=True, kw_only=True)
class KSG(AbstractSketched):
    """I = psi(k) + psi(N) - < psi(n_x + 1) + psi(n_y + 1) > in bits.

    The k-th neighbour is the k-th nearest in the larger of the distances of the two sides. n_x and n_y count
    the examples that are strictly nearer than it on one side. Source: Kraskov, Stoegbauer & Grassberger 2004,
    equation 8. Each feature is scaled to unit variance and gets noise of 1e-10, as they advise. Up to 6
    dimensions in all the distance is the maximum over dimensions, by SciPy's trees. In more it is Euclidean
    within each side (ours; they allow any norm), over all pairs.

    The estimate is nearly unbiased in a few dimensions. In many it falls far below a large true value. It may
    be slightly negative. The ceiling is what a side tells of itself: psi(N) - psi(k), and less where examples
    are equal (ours, by the same estimate of that side against itself under other noise).

    Args:
        neighbours: k.
        points: maximum number of examples in more than 6 dimensions, drawn at random; time and memory grow
            with its square.
        sketch: wider features are sketched to this many numbers (ours), which lowers the value of features
            without structure.
        permutations: number of permutations for the null.
    """

    neighbours: int = 3

    name: ClassVar[str] = "KSG"
    unit: ClassVar[str] = "bits"

    def __post_init__(self) -> None:
        AbstractSketched.__post_init__(self)
        check_counts(1, neighbours=self.neighbours)
        if self.neighbours >= self.min_examples:
            raise InputError(f"neighbours: expected at most {self.min_examples - 1}, got {self.neighbours}")

    def max_examples(self, shapes: Shapes) -> int | None:
        return None if self._in_trees(shapes) else self.points

    def _in_trees(self, shapes: Shapes) -> bool:
        return sum(side.features for side in shapes) <= _TREE_DIMENSIONS

    def measure(self, x: Tensor, y: Tensor, shapes: Shapes, orders: Orders, seed: Seed) -> Raw:
        n, k, trees = x.shape[1], self.neighbours, self._in_trees(shapes)
        ties = _has_ties(x), _has_ties(y)

        def side(number: int, noise: Seed) -> Any:
            """A side with noise: its rows for the trees, or else its distances."""
            columns, name = (x, y)[number], "xy"[number]
            columns = _scaled(columns, shapes[number].dtype, noise / name)
            if trees:
                return columns.T.cpu().numpy()
            return _levelled(distances(columns.T), noise / "ties" / name if ties[number] else None)

        def terms(a: Any, b: Any) -> Floats:
            return _by_trees(a, b, k) if trees else _by_pairs(a, b, k)

        a, b = side(0, seed / "noise"), side(1, seed / "noise")
        found = terms(a, b)
        # With ties more than k examples are nearest, and a side tells less even of itself.
        attained = [
            float(terms(own, side(number, seed / "ceiling")).mean())
            for number, own in enumerate((a, b))
            if ties[number]
        ]
        ceiling = min([float(digamma(n) - digamma(k)) / math.log(2), *attained])
        shuffled = (b[order.cpu().numpy()] if trees else among(b, order) for order in orders)
        return Raw(
            value=float(found.mean()),
            error=float(found.std() / math.sqrt(n)),
            null=tuple(float(terms(a, other).mean()) for other in shuffled),
            used=n,
            ceiling=max(ceiling, float(found.mean())),
        )


def _has_ties(columns: Tensor) -> bool:
    """Whether two examples of (k, n) are equal; by a hash, which errs once in 10^9 times."""
    bits = (columns + 0.0).view(torch.int64)  # one 0 alone, without a sign
    bits = bits ^ (bits >> 32)  # of small whole numbers all that differs are the first bits
    odd = torch.tensor(multipliers(len(columns)), device=columns.device)
    return len(torch.unique((bits * odd[:, None]).sum(0))) < columns.shape[1]


def _scaled(columns: Tensor, dtype: torch.dtype, seed: Seed) -> Tensor:
    scaled = (columns - columns.mean(1, keepdim=True)) / deviations(columns, dtype)
    return scaled + _NOISE * torch.randn(columns.shape, generator=seed.generator(), dtype=torch.float64).to(
        columns.device
    )


def _levelled(d: Tensor, ties: Seed | None) -> Tensor:
    """Distances divided by their median. Without this the side with more features alone would decide which
    examples are near.

    With a seed for ``ties``, equal examples are at random tiny distances: by a matrix product they are at the
    same rounding error on both sides, which would read as dependence.
    """
    middle, least = d.median(), _EQUAL * d.max()
    # Where most examples are equal the median is noise; then it is taken of those that differ.
    if middle <= least:
        middle = d[d > least].median()
    if ties is not None:
        drawn = torch.rand(d.shape, generator=ties.generator(), dtype=d.dtype).to(d.device)
        drawn = (drawn.triu(1) + drawn.triu(1).T) * least
        d = torch.where(d > least, d, drawn)
    return d / middle


def _terms(n_x: Floats, n_y: Floats, k: int, n: int) -> Floats:
    """(n,) terms in bits, whose mean is the estimate."""
    # Neighbours of equal examples are at distance 0, and none is nearer; the k - 1 others still count.
    n_x, n_y = np.maximum(n_x, k - 1), np.maximum(n_y, k - 1)
    terms: Floats = (digamma(k) + digamma(n) - digamma(n_x + 1) - digamma(n_y + 1)) / math.log(2)
    return terms


def _by_trees(x: Floats, y: Floats, k: int) -> Floats:
    radius = cKDTree(np.hstack([x, y])).query(np.hstack([x, y]), [k + 1], p=np.inf)[0][:, 0]
    inside = np.nextafter(radius, 0)  # the trees count up to and including the radius
    return _terms(_nearer(x, inside), _nearer(y, inside), k, len(x))


def _nearer(rows: Floats, radius: Floats) -> Floats:
    """(n,) how many others are within the radius of each."""
    return (
        np.asarray(
            cKDTree(rows).query_ball_point(rows, radius, p=np.inf, return_length=True), dtype=np.float64
        )
        - 1
    )


def _by_pairs(a: Tensor, b: Tensor, k: int) -> Floats:
    """From (n, n) distances within either side."""
    radius = (
        torch.maximum(a, b).kthvalue(k + 1, 1).values[:, None]
    )  # k + 1: the nearest is the example itself
    n_x, n_y = ((side < radius).sum(1).double().cpu().numpy() - 1 for side in (a, b))
    return _terms(n_x, n_y, k, len(a))
