"""Linear centred kernel alignment."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from semirobust.core.checks import check_counts
from semirobust.core.seed import Seed
from semirobust.dependence import DEPENDENCES
from semirobust.dependence.base.dependence import Orders, Shapes
from semirobust.dependence.base.estimate import Raw
from semirobust.dependence.base.pairwise import jackknife
from semirobust.dependence.base.sketched import AbstractSketched
from semirobust.dependence.base.unbiased import unbiased_from_sums

__all__ = ["CKA"]


@DEPENDENCES.register("cka")
@dataclass(frozen=True, kw_only=True)
class CKA(AbstractSketched):
    """||Yc' Xc||_F^2 / (||Xc' Xc||_F ||Yc' Yc||_F) with Xc, Yc centred; 0 to 1.

    Source: Kornblith et al. 2019, equation 5. With fewer examples than features it is near 1 for independent
    data too. ``debiased`` replaces all three products by the unbiased HSIC of Song et al. 2012, whose null is
    0. CKA measures linear dependence only: a rotation or a common factor changes nothing, and it is blind to
    an elementwise square.

    Args:
        debiased: take unbiased estimates; they may be slightly negative.
        points: maximum number of examples, drawn at random.
        groups: of examples; the standard error leaves out each of them once. 0 for no error.
        sketch: wider features are sketched to this many numbers (ours), which lowers the value of features
            without structure.
        permutations: number of permutations for the null.
    """

    debiased: bool = False
    points: int = 20_000
    groups: int = 10

    name: ClassVar[str] = "CKA"

    def __post_init__(self) -> None:
        AbstractSketched.__post_init__(self)
        check_counts(0, groups=self.groups)

    def measure(self, x: Tensor, y: Tensor, shapes: Shapes, orders: Orders, seed: Seed) -> Raw:
        rows_x, rows_y = x.T, y.T
        spread = _product(self, rows_x, rows_x) * _product(self, rows_y, rows_y)

        def of(chosen: Tensor) -> float:
            x, y = rows_x[chosen], rows_y[chosen]
            return _ratio(_product(self, x, y), _product(self, x, x) * _product(self, y, y))

        return Raw(
            value=_ratio(_product(self, rows_x, rows_y), spread),
            error=jackknife(len(rows_x), of, self.groups, seed / "groups", x.device),
            null=tuple(_ratio(_product(self, rows_x, rows_y[order]), spread) for order in orders),
            used=len(rows_x),
            ceiling=1.0,
        )


def _ratio(product: float, spread: float) -> float:
    # A constant side has no spread and depends on nothing.
    return product / math.sqrt(spread) if spread > 0 else 0.0


def _product(settings: CKA, x: Tensor, y: Tensor) -> float:
    """HSIC of the linear kernels of (n, k) rows up to a factor, or its unbiased estimate."""
    x, y = x - x.mean(0), y - y.mean(0)
    # With few examples kernels (n, n) cost less than products (k, k).
    few = len(x) * (x.shape[1] + y.shape[1]) < x.shape[1] * y.shape[1]
    total = float(((x @ x.T) * (y @ y.T)).sum() if few else (x.T @ y).square().sum())
    if not settings.debiased:
        return total
    n = len(x)
    # The estimate leaves out the diagonals. Rows of a centred kernel sum to 0, and so to minus the diagonal
    # without it.
    diagonal_x, diagonal_y = x.square().sum(1), y.square().sum(1)
    rows = float(diagonal_x @ diagonal_y)
    totals = float(diagonal_x.sum() * diagonal_y.sum())
    return unbiased_from_sums(total - rows, totals, rows, n) / (n * (n - 3))
