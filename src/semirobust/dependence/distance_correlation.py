"""Distance correlation."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from semirobust.core.checks import check_counts
from semirobust.core.seed import Seed
from semirobust.dependence import DEPENDENCES
from semirobust.dependence.base.dependence import Orders, Shapes
from semirobust.dependence.base.estimate import Raw
from semirobust.dependence.base.pairwise import among, distances, jackknife
from semirobust.dependence.base.rounding import defined, rounding
from semirobust.dependence.base.sketched import AbstractSketched

__all__ = ["DistanceCorrelation"]

_CANCELLED = 1e-13  # of squared distances, what is left by rounding alone where they cancel


@DEPENDENCES.register("distance-correlation")
@dataclass(frozen=True, kw_only=True)
class DistanceCorrelation(AbstractSketched):
    """dCor = sqrt(dCov^2(X, Y) / sqrt(dCov^2(X, X) dCov^2(Y, Y))) of doubly centred Euclidean distances; 0 to
    1.

    With infinitely many examples it is 0 under independence and only there. Source: Szekely, Rizzo & Bakirov
    2007, definitions 3 to 5. With few examples of many dimensions it is near 1 for independent data too.
    ``unbiased`` gives the bias-corrected squared form of Szekely & Rizzo 2014. Its null is 0, and it may be
    negative. A side whose examples are all equally far from each other has none.

    Args:
        unbiased: the bias-corrected squared distance correlation.
        points: maximum number of examples, drawn at random; time and memory grow with its square.
        groups: of examples; the standard error leaves out each of them once. 0 for no error.
        sketch: wider features are sketched to this many numbers (ours), which lowers the value of features
            without structure.
        permutations: number of permutations for the null.
    """

    unbiased: bool = False
    groups: int = 10

    name: ClassVar[str] = "distance correlation"

    def __post_init__(self) -> None:
        AbstractSketched.__post_init__(self)
        check_counts(0, groups=self.groups)

    def measure(self, x: Tensor, y: Tensor, shapes: Shapes, orders: Orders, seed: Seed) -> Raw:
        errors = [rounding(side, shape.dtype) for side, shape in zip((x, y), shapes, strict=True)]
        a, b = (distances(rows) for rows in (x.T, y.T))
        centred_a, centred_b = self._centred(a), self._centred(b)
        own = _own(centred_a, a, errors[0]), _own(centred_b, b, errors[1])
        defined(f"unbiased {self.name}" if self.unbiased else self.name, *own)
        spread = math.sqrt(own[0] * own[1])

        def of(chosen: Tensor) -> float:
            d, e = among(a, chosen), among(b, chosen)
            p, q = self._centred(d), self._centred(e)
            return self._ratio(p, q, math.sqrt(_own(p, d, errors[0]) * _own(q, e, errors[1])))

        return Raw(
            value=self._ratio(centred_a, centred_b, spread),
            error=jackknife(len(a), of, self.groups, seed / "groups", a.device),
            null=tuple(self._ratio(centred_a, among(centred_b, order), spread) for order in orders),
            used=len(a),
            ceiling=1.0,
        )

    def _centred(self, d: Tensor) -> Tensor:
        """Distances (n, n) minus the means of their row and column, plus the mean of all."""
        n = len(d)
        if not self.unbiased:
            rows = d.mean(1)
            return d - rows[:, None] - rows[None, :] + rows.mean()
        rows = d.sum(1)
        centred = d - (rows[:, None] + rows[None, :]) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
        return centred.fill_diagonal_(0)

    def _ratio(self, a: Tensor, b: Tensor, spread: float) -> float:
        ratio = float((a * b).sum()) / spread
        # Without bias correction rounding alone can make it negative.
        return ratio if self.unbiased or math.isnan(ratio) else math.sqrt(max(ratio, 0.0))


def _own(centred: Tensor, d: Tensor, error: float) -> float:
    """The squared norm of centred distances; NaN where it is 0 but for the rounding of distances ``d``."""
    least = _CANCELLED * float(d.square().sum()) + 4 * (len(d) * error) ** 2
    own = float(centred.square().sum())
    return own if own > least else math.nan
