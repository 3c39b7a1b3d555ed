"""EDGE: mutual information by hashing both sides into buckets of a dependence graph."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semirobust.core.checks import check_counts
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.dependence import DEPENDENCES
from semirobust.dependence.base.buckets import Buckets, Plugin, buckets, plugins
from semirobust.dependence.base.dependence import AbstractDependence, Orders, Shapes
from semirobust.dependence.base.estimate import Raw
from semirobust.dependence.base.pairwise import jackknife
from semirobust.dependence.base.reduction import Reduction, whole
from semirobust.dependence.base.weights import optimal_weights

__all__ = ["EDGE"]

Version = Literal["4.4.1", "4.3.1", "paper"]
Floats = NDArray[np.float64]
Combine = Literal["median", "mean", "optimal"]

# All of these are constants of the published code.
_SEED = 3334  # for the projections and the points from which widths are measured
_POINTS = 500
_FLOOR = 0.001  # minimum of a logarithm
_RANGE = 0.1  # the buckets of the last member are wider by this fraction
_SMALLEST = 1e-4  # minimum deviation of a feature, and what is added to widths
_UNPROJECTED = 6  # features of up to this many dimensions are not projected
_RANDOM_SHIFT = 0.1


@DEPENDENCES.register("edge")
@dataclass(frozen=True, kw_only=True)
class EDGE(AbstractDependence):
    """I = median_t sum_ij N_ij / N clip(log2(N N_ij / (N_i M_j)), 0.001, U) over L bucketings t, in bits.

    X (N, D) is projected on d' = min(D, floor(log2(N / 10))) Gaussian directions and hashed into buckets.
    Their width is a mean distance to the k-th neighbour times a factor. Source: Noshad, Zeng & Hero 2019
    (arXiv 1801.09125) and its published code. The versions reproduce the values of that code, with its seed
    for the directions (3334, fixed).

    On independent data the value is above 0, the more so the fewer examples there are: compare it with the
    null, not with 0.

    Args:
        version: of the published code. ``paper`` is 4.4.1 as the semirobustness paper runs it: one member, a
            random shift, no renormalisation.
        normalize: renormalise the width once by the first result, gamma 2^(0.5/I - sqrt(2 I)); None for the
            default of the version.
        members: bucketings L; None for the default of the version, 10 (1 in ``paper``).
        combine: the median or mean of the members, or weights that minimise the variance (Moon et al. 2018).
            These differ from the mean only with many members, 17 or more.
        gamma: factor of the widths, or one of x and one of y; small for discrete data.
        width: of the buckets, before factors, in place of the distance to neighbours.
        upper: U, the maximum of one logarithm.
        groups: of examples; the standard error leaves out each of them once, with the same directions and
            widths. 0 for no error.
        permutations: number of permutations for the null; the whole estimator runs on each.

    Raises:
        InputError: an argument is not as described. When called: fewer than 20 examples, NaN or infinite
            features, a constant side, or a side whose features all vary by less than 1e-4. There the
            published constants would decide the result.
    """

    version: Version = "4.4.1"
    normalize: bool | None = None
    members: int | None = None
    combine: Combine = "median"
    gamma: float | Sequence[float] = 1.0
    width: float | None = None
    upper: float = 10.0
    groups: int = 10

    name: ClassVar[str] = "EDGE"
    unit: ClassVar[str] = "bits"
    min_examples: ClassVar[int] = 20
    moments: ClassVar[bool] = True

    def __post_init__(self) -> None:
        AbstractDependence.__post_init__(self)
        check_counts(0, groups=self.groups)
        check_counts(2 if self.combine == "optimal" else 1, members=self._members)
        if len(self._gammas) != 2:
            raise InputError(f"gamma: expected one factor, or one of x and one of y; got {self.gamma!r}")
        if not (min(self._gammas) > 0 and self.upper > 0 and (self.width is None or self.width > 0)):
            raise InputError("gamma, upper and width: expected positive numbers")

    @property
    def _members(self) -> int:
        return (1 if self.version == "paper" else 10) if self.members is None else self.members

    @property
    def _gammas(self) -> tuple[float, ...]:
        return (self.gamma, self.gamma) if isinstance(self.gamma, int | float) else tuple(self.gamma)

    @property
    def _renormalised(self) -> bool:
        return self.version != "paper" if self.normalize is None else self.normalize

    @property
    def growth(self) -> Floats:
        """(L,) factors of the members' widths."""
        return np.linspace(1, 1 + _RANGE, self._members)

    @property
    def factor(self) -> float:
        """The factor that the version applies to gamma."""
        return 0.9 if self.version == "4.3.1" else 0.4

    def reductions(self, shapes: Shapes, seed: Seed) -> tuple[Reduction, Reduction]:
        for name, side in zip(("x", "y"), shapes, strict=True):
            if not side.constant and float(side.deviation.max()) < _SMALLEST:
                raise InputError(
                    f"{name}: all features vary by less than {_SMALLEST:g}, too little for EDGE; scale"
                    " them up"
                )
        if self.version != "4.3.1" and max(side.features for side in shapes) <= _UNPROJECTED:
            return whole, whole
        # The random stream of the published code: first the directions of x, then those of y.
        draws = np.random.RandomState(_SEED)
        projections = []
        for side in shapes:
            count = min(side.features, math.floor(math.log(side.n / 10, 2)))
            drawn = torch.from_numpy(draws.standard_normal((side.features, count)))
            deviation = side.deviation
            deviation = torch.where(deviation < _SMALLEST, 1.0, deviation)
            scale = 1 / (deviation * math.sqrt(side.features))
            weights = (drawn.to(side.device) * scale[:, None]).to(side.dtype).T.contiguous()
            projections.append(_Directions(weights))
        return projections[0], projections[1]

    def measure(self, x: Tensor, y: Tensor, shapes: Shapes, orders: Orders, seed: Seed) -> Raw:
        grid, n = _Grid.of(self, (x, y), shapes, seed), x.shape[1]
        value, members = grid.information()

        def of(chosen: Tensor) -> float:
            return grid.among(chosen).information()[0]

        return Raw(
            value=value,
            error=jackknife(n, of, self.groups, seed / "groups", x.device),
            null=tuple(grid.information(order)[0] for order in orders),
            used=n,
            ceiling=min(self.upper, math.log2(n)),
            singletons=float(np.mean([m.singletons for m in members])),
        )


@dataclass(frozen=True)
class _Directions:
    """Projection (n, D) -> (n, k)."""

    weights: Tensor  # (k, D): in this order the product with few directions is two to four times as fast

    def __call__(self, batch: Tensor) -> Tensor:
        return (self.weights @ batch.T).T


@dataclass(frozen=True)
class _Grid:
    """Both sides, the widths of their buckets, and the bucketings of the first round, which all permutations
    share.
    """

    settings: EDGE
    sides: tuple[Tensor, Tensor]
    seed: Seed
    widths: tuple[Tensor, Tensor]
    weights: Floats | None
    opening: Sequence[tuple[Buckets, Buckets]] = ()

    @classmethod
    def of(cls, settings: EDGE, sides: tuple[Tensor, Tensor], shapes: Shapes, seed: Seed) -> "_Grid":
        a, b = (_width(settings, columns, side.features) for columns, side in zip(sides, shapes, strict=True))
        weights = None
        if settings.combine == "optimal":
            weights = optimal_weights(settings.growth, shapes[0].features, sides[0].shape[1])
        bare = cls(settings, sides, seed, (a, b), weights)
        return replace(bare, opening=[bare._buckets(1.0, t) for t in range(len(settings.growth))])

    def among(self, chosen: Tensor) -> "_Grid":
        """The same grid over fewer examples."""
        x, y = (side[:, chosen] for side in self.sides)
        return replace(
            self, sides=(x, y), opening=[(a.among(chosen), b.among(chosen)) for a, b in self.opening]
        )

    def information(self, order: Tensor | None = None) -> tuple[float, Sequence[Plugin]]:
        """The estimate and its members, with the rows of y in the given order."""
        members = self._plugins(self.opening, order)
        value = self._combined(members)
        if self.settings._renormalised:
            # The published code calls itself with the new gamma, so the factor of the version counts twice.
            factor = self.settings.factor * 2 ** (0.5 / value - math.sqrt(2 * value))
            members = self._plugins((self._buckets(factor, t) for t in range(len(self.opening))), order)
            value = self._combined(members)
        return value, members

    def _plugins(self, pairs: Iterable[tuple[Buckets, Buckets]], order: Tensor | None) -> Sequence[Plugin]:
        ordered = ((x, y if order is None else y.reordered(order)) for x, y in pairs)
        return plugins(ordered, _FLOOR, self.settings.upper)

    def _combined(self, members: Sequence[Plugin]) -> float:
        bits = np.array([m.bits for m in members])
        if self.weights is not None:
            return max(float(self.weights @ bits), _FLOOR)  # weights may be negative, information may not
        return float(np.median(bits) if self.settings.combine == "median" else bits.mean())

    def _buckets(self, factor: float, member: int) -> tuple[Buckets, Buckets]:
        x, y = (
            buckets(columns, width, shift)
            for columns, width, shift in zip(self.sides, *self._steps(factor, member), strict=True)
        )
        return x, y

    def _steps(self, factor: float, member: int) -> tuple[list[Tensor], list[Tensor]]:
        """Widths and shifts of both sides."""
        settings = self.settings
        grown = settings.factor * factor * settings.growth[member]
        widths = [w * (g * grown) for w, g in zip(self.widths, settings._gammas, strict=True)]
        if settings.version != "paper":
            return widths, [w * (member / len(settings.growth)) for w in widths]
        generator = (self.seed / "shift" / member).generator()
        draws = [torch.rand(len(w), generator=generator, dtype=torch.float64) for w in widths]
        return widths, [_RANDOM_SHIFT * d * w for d, w in zip(draws, widths, strict=True)]


def _width(settings: EDGE, columns: Tensor, features: int) -> Tensor:
    """(k,) width of the buckets before gamma, on the CPU."""
    k, given = len(columns), settings.width
    if settings.version == "4.3.1":
        factor = 3.0 * k
    else:
        factor = (18 if given is None else 15) * k / max(1 + math.log(features), 1)
    if given is not None:
        return torch.full((k,), given * factor, dtype=torch.float64)
    return torch.from_numpy((_neighbour_distances(columns.cpu().numpy()) + _SMALLEST) * factor)


def _neighbour_distances(columns: Floats) -> Floats:
    """(d,) mean distance in each row of (d, N) from 500 of its points to their k-th neighbour, where a point
    is its own first neighbour. k is the formula of the published code.
    """
    d, n = columns.shape
    k = math.floor(0.43 * n ** (2 / 3 + 0.17 * (d / (d + 1))) * math.exp(-1.0 / max(10000, d**4)))
    chosen = np.random.RandomState(_SEED).choice(n, _POINTS)
    return _to_neighbour(np.sort(columns, axis=1), columns[:, chosen], min(max(k, 1), n)).mean(1)


def _to_neighbour(ordered: Floats, points: Floats, k: int) -> Floats:
    """(d, m) distance of points (d, m) to their k-th neighbour in the sorted rows (d, N).

    The k nearest are neighbours in the sorted row. Bisection finds the window of k values that reaches least
    far from the point.
    """
    low, high = (
        np.zeros(points.shape, dtype=np.intp),
        np.full(points.shape, ordered.shape[1] - k, dtype=np.intp),
    )
    while (open_ := low < high).any():
        middle = (low + high) // 2
        last = np.minimum(middle + k, ordered.shape[1] - 1)
        right = (
            points - np.take_along_axis(ordered, middle, 1) > np.take_along_axis(ordered, last, 1) - points
        )
        low = np.where(open_ & right, middle + 1, low)
        high = np.where(open_ & ~right, middle, high)
    first, last = np.take_along_axis(ordered, low, 1), np.take_along_axis(ordered, low + k - 1, 1)
    return np.maximum(points - first, last - points)
