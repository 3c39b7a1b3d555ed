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
from semirobust.dependence.base.rounding import defined, rounding
from semirobust.dependence.base.sketched import AbstractSketched
from semirobust.dependence.base.unbiased import unbiased_from_sums

__all__ = ["CKA"]

_CANCELLED = 1e-12  # of a sum whose terms cancel, what is left of them by rounding alone


@DEPENDENCES.register("cka")
@dataclass(frozen=True, kw_only=True)
class CKA(AbstractSketched):
    """||Yc' Xc||_F^2 / (||Xc' Xc||_F ||Yc' Yc||_F) with Xc, Yc centred; 0 to 1.

    Source: Kornblith et al. 2019, equation 5. With fewer examples than features it is near 1 for independent
    data too. ``debiased`` replaces all three products by the unbiased HSIC of Song et al. 2012, whose null is
    0. A side whose unbiased HSIC with itself is 0 but for rounding has no debiased CKA, as where no two
    examples share a feature (ours). CKA measures linear dependence only: a rotation or a common factor
    changes nothing, and it is blind to an elementwise square.

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

    @property
    def _words(self) -> str:
        return f"debiased {self.name}" if self.debiased else self.name

    def measure(self, x: Tensor, y: Tensor, shapes: Shapes, orders: Orders, seed: Seed) -> Raw:
        errors = [rounding(side, shape.dtype) for side, shape in zip((x, y), shapes, strict=True)]
        rows_x, rows_y = x.T, y.T
        own_x, own_y = _own(self, rows_x, errors[0]), _own(self, rows_y, errors[1])
        defined(self._words, own_x, own_y)
        spread = own_x * own_y

        def of(chosen: Tensor) -> float:
            x, y = rows_x[chosen], rows_y[chosen]
            return _ratio(_product(self, x, y), _own(self, x, errors[0]) * _own(self, y, errors[1]))

        return Raw(
            value=_ratio(_product(self, rows_x, rows_y), spread),
            error=jackknife(len(rows_x), of, self.groups, seed / "groups", x.device),
            null=tuple(_ratio(_product(self, rows_x, rows_y[order]), spread) for order in orders),
            used=len(rows_x),
            ceiling=1.0,
        )


def _ratio(product: float, spread: float) -> float:
    return product / math.sqrt(spread)


def _own(settings: CKA, rows: Tensor, error: float) -> float:
    """The product of a side with itself; NaN where it is 0 but for rounding.

    ``error`` is how far the entries may be off. The debiased form is the squared norm of a kernel without its
    diagonal, doubly centred. So what is below the square of that kernel's error is nothing.
    """
    n, spread = len(rows), float((rows - rows.mean(0)).square().sum())
    if settings.debiased:
        least = (_CANCELLED * spread**2 + 8 * n * error**2 * spread) / (n * (n - 3))
    else:
        least = (rows.numel() * error**2) ** 2
    own = _product(settings, rows, rows)
    return own if own > least else math.nan


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
