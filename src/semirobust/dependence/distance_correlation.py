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
from semirobust.dependence.base.sketched import AbstractSketched

__all__ = ["DistanceCorrelation"]


@DEPENDENCES.register("distance-correlation")
@dataclass(frozen=True, kw_only=True)
class DistanceCorrelation(AbstractSketched):
    """dCor = sqrt(dCov^2(X, Y) / sqrt(dCov^2(X, X) dCov^2(Y, Y))) of doubly centred Euclidean distances; 0 to
    1.

    0 only under independence, where the number of examples is infinite. Source: Szekely, Rizzo & Bakirov
    2007, definitions 3 to 5. With few examples of many dimensions it is near 1 for independent data too;
    ``unbiased`` gives the bias-corrected squared form of Szekely & Rizzo 2014, whose null is 0 and which may
    be negative.

    Args:
        unbiased: the bias-corrected squared distance correlation.
        points: examples at most, drawn at random; time and memory grow with their square.
        groups: of examples, each left out once for the standard error; 0 for none.
        sketch: wider features are sketched to so many numbers (ours), which lowers the value of those without
            structure.
        permutations: rows are permuted so often for the null.
    """

    unbiased: bool = False
    groups: int = 10

    name: ClassVar[str] = "distance correlation"

    def __post_init__(self) -> None:
        AbstractSketched.__post_init__(self)
        check_counts(0, groups=self.groups)

    def measure(self, x: Tensor, y: Tensor, shapes: Shapes, orders: Orders, seed: Seed) -> Raw:
        a, b = (distances(rows) for rows in (x.T, y.T))
        centred_a, centred_b = self._centred(a), self._centred(b)
        spread = _spread(centred_a, centred_b)

        def of(chosen: Tensor) -> float:
            p, q = self._centred(among(a, chosen)), self._centred(among(b, chosen))
            return self._share(p, q, _spread(p, q))

        return Raw(
            value=self._share(centred_a, centred_b, spread),
            error=jackknife(len(a), of, self.groups, seed / "groups", a.device),
            null=tuple(self._share(centred_a, among(centred_b, order), spread) for order in orders),
            used=len(a),
            ceiling=1.0,
        )

    def _centred(self, apart: Tensor) -> Tensor:
        """Distances less the means of their row and column, plus the mean of all."""
        n = len(apart)
        if not self.unbiased:
            rows = apart.mean(1)
            return apart - rows[:, None] - rows[None, :] + rows.mean()
        rows = apart.sum(1)
        centred = apart - (rows[:, None] + rows[None, :]) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
        return centred.fill_diagonal_(0)

    def _share(self, a: Tensor, b: Tensor, spread: float) -> float:
        share = float((a * b).sum()) / spread if spread else 0.0
        return share if self.unbiased else math.sqrt(max(share, 0.0))


def _spread(a: Tensor, b: Tensor) -> float:
    return math.sqrt(float(a.square().sum()) * float(b.square().sum()))
