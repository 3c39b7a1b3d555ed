"""The Hilbert-Schmidt independence criterion."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.core.checks import check_counts
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.dependence import DEPENDENCES
from semirobust.dependence.base.dependence import Orders, Shapes
from semirobust.dependence.base.estimate import Raw
from semirobust.dependence.base.pairwise import among, distances, jackknife
from semirobust.dependence.base.rounding import defined, rounding
from semirobust.dependence.base.sketched import AbstractSketched
from semirobust.dependence.base.unbiased import unbiased_from_kernels

__all__ = ["HSIC"]

_CANCELLED = 1e-12  # of a sum whose terms cancel, what is left of them by rounding alone


@DEPENDENCES.register("hsic")
@dataclass(frozen=True, kw_only=True)
class HSIC(AbstractSketched):
    """Squared Hilbert-Schmidt norm of the cross-covariance of Gaussian kernels exp(-||a - b||^2 / (2 s^2)).

    s is the median distance within each side. Source: Gretton et al. 2005, by the unbiased estimate of Song
    et al. 2012, equation 5. Under independence the true value is 0. The size depends on the kernels, so
    values of different layers cannot be compared. ``normalized`` divides by the geometric mean of the HSIC of
    each side with itself (kernel alignment, 1 at most); a side where that is 0 but for rounding, such as one
    whose examples are all equally far from each other, has no such ratio.

    Args:
        normalized: divide, so that a side with itself gives 1.
        points: maximum number of examples, drawn at random; time and memory grow with its square.
        groups: of examples; the standard error leaves out each of them once. 0 for no error.
        sketch: wider features are sketched to this many numbers (ours), which lowers the value of features
            without structure.
        permutations: number of permutations for the null.
    """

    normalized: bool = False
    groups: int = 10

    name: ClassVar[str] = "HSIC"

    def __post_init__(self) -> None:
        AbstractSketched.__post_init__(self)
        check_counts(0, groups=self.groups)

    def measure(self, x: Tensor, y: Tensor, shapes: Shapes, orders: Orders, seed: Seed) -> Raw:
        errors = [rounding(side, shape.dtype) for side, shape in zip((x, y), shapes, strict=True)]
        (a, error_a), (b, error_b) = (
            _kernel(rows, error) for rows, error in zip((x.T, y.T), errors, strict=True)
        )
        scale = 1.0
        if self.normalized:
            own = _own(a, error_a), _own(b, error_b)
            defined(f"normalized {self.name}", *own)
            scale = math.sqrt(own[0] * own[1])

        def of(chosen: Tensor) -> float:
            p, q = among(a, chosen), among(b, chosen)
            own = math.sqrt(_own(p, error_a) * _own(q, error_b)) if self.normalized else 1.0
            return _unbiased(p, q) / own

        return Raw(
            value=_unbiased(a, b) / scale,
            error=jackknife(len(a), of, self.groups, seed / "groups", a.device),
            null=tuple(_unbiased(a, among(b, order)) / scale for order in orders),
            used=len(a),
            ceiling=1.0 if self.normalized else math.inf,
        )


def _kernel(rows: Tensor, error: float) -> tuple[Tensor, float]:
    """(n, n) Gaussian kernel of median width, with a diagonal of 0 as the unbiased estimate takes it, and how
    far its entries may be off where those of ``rows`` are off by ``error``.
    """
    d = distances(rows)
    upper = d[torch.triu(torch.ones_like(d, dtype=torch.bool), 1)]
    if not bool((upper > 0).any()):
        raise InputError("HSIC: expected examples that differ, but all that were drawn are equal")
    # Where most examples are equal the median is 0; then it is taken of those that differ.
    width = float(upper.median()) or float(upper[upper > 0].median())
    return d.square_().mul_(-0.5 / width**2).exp_().fill_diagonal_(0), error / width


def _own(kernel: Tensor, error: float) -> float:
    """The criterion of a side with itself; NaN where it is 0 but for rounding."""
    n = len(kernel)
    least = (_CANCELLED * float(kernel.square().sum()) + 4 * (n * error) ** 2) / (n * (n - 3))
    own = _unbiased(kernel, kernel)
    return own if own > least else math.nan


def _unbiased(a: Tensor, b: Tensor) -> float:
    n = len(a)
    return float(unbiased_from_kernels(a, b)) / (n * (n - 3))
