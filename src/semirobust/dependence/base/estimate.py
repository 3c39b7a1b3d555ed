"""A measured dependence beside its null: the value that the same data give with their rows permuted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from semirobust.core.errors import InputError
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Estimate", "Raw", "Verdict", "combine"]

Verdict = Literal["informative", "saturated", "indistinguishable from independence", "not tested"]

_LEVEL = 0.05
_ROUNDING = 1e-10  # relative: two orders of the same sum differ by less
_NORMAL = 1.959964  # 97.5 % quantile of the standard normal distribution
# Saturated: a value of this fraction of the ceiling, or a null of that one.
_FULL = 0.95
_HALF = 0.5


@dataclass(frozen=True)
class Raw:
    """The result of an estimator on one sample.

    Attributes:
        value: the estimate.
        error: its standard error from sampling; bias is not in it.
        null: the same estimator with the rows of one side permuted, once for each permutation.
        ceiling: the maximum that it can give on a sample of this size; infinite where there is none.
        singletons: fraction of occupied joint buckets that hold a single example; NaN for estimators without
            buckets.
        used: how many examples it was measured on.
    """

    value: float
    error: float
    null: tuple[float, ...]
    used: int
    ceiling: float = math.inf
    singletons: float = math.nan


@dataclass(frozen=True, eq=False, repr=False)
class Estimate(AbstractResult):
    """Dependence between two variables, overall or within each class.

    Attributes:
        measure: the estimator's name.
        unit: ``bits`` of information, or ``1``.
        value: the estimate.
        error: its standard error from sampling. Bias is not in it; the null shows that.
        null: values on the same data with the rows of one side permuted (within classes). There the true
            value is 0.
        ceiling: the maximum that the estimator can give on this many examples.
        singletons: fraction of occupied joint buckets with a single example; NaN for estimators without
            buckets.
        n: examples it was measured on.
        classes: the estimate within each class, of a class-conditional one.
        left_out: classes that were left out, and why.
    """

    measure: str
    unit: str
    value: float
    error: float
    null: tuple[float, ...]
    ceiling: float
    singletons: float
    n: int
    classes: Mapping[int, "Estimate"] = field(default_factory=dict)
    left_out: Mapping[int, str] = field(default_factory=dict)

    @property
    def null_mean(self) -> float:
        """Mean over permutations; NaN without any."""
        return float(np.mean(self.null)) if self.null else math.nan

    @property
    def null_sd(self) -> float:
        """Standard deviation over permutations; NaN with fewer than two."""
        return float(np.std(self.null, ddof=1)) if len(self.null) > 1 else math.nan

    @property
    def excess(self) -> float:
        """Value minus the mean of the null."""
        return self.value - self.null_mean

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the value over samples, by its standard error; bias is not in it."""
        return self.value - _NORMAL * self.error, self.value + _NORMAL * self.error

    @property
    def excess_interval(self) -> tuple[float, float]:
        """95 % interval of the excess: standard errors of the value and of the null's mean."""
        half = _NORMAL * math.hypot(
            self.error, self.null_sd / math.sqrt(len(self.null)) if len(self.null) > 1 else math.inf
        )
        return self.excess - half, self.excess + half

    @property
    def p_value(self) -> float:
        """Of the permutation test: (1 + permutations of at least this value) / (1 + permutations), where what
        differs by rounding alone is equal.
        """
        least = self.value - _ROUNDING * abs(self.value)
        return (1 + sum(v >= least for v in self.null)) / (1 + len(self.null))

    @property
    def verdict(self) -> Verdict:
        """Whether the estimate says how strong the dependence is.

        - ``not tested``: there are fewer than 19 permutations;
        - ``indistinguishable from independence``: the permutation test does not reject at 5 %;
        - ``saturated``: the null is at half of the ceiling, or an information at 95 % of it, so that its size
          says little;
        - ``informative``: none of these.
        """
        if (1 + len(self.null)) * _LEVEL < 1:
            return "not tested"
        if not self.p_value <= _LEVEL:
            return "indistinguishable from independence"
        full = self.unit == "bits" and self.value >= _FULL * self.ceiling
        return "saturated" if full or self.null_mean >= _HALF * self.ceiling else "informative"

    @property
    def bits(self) -> float:
        """The value of an information."""
        return self._bits(self.value)

    @property
    def null_bits(self) -> float:
        """The mean of the null of an information."""
        return self._bits(self.null_mean)

    @property
    def excess_bits(self) -> float:
        """The excess of an information."""
        return self._bits(self.excess)

    @property
    def ceiling_bits(self) -> float:
        """The ceiling of an information."""
        return self._bits(self.ceiling)

    def _bits(self, value: float) -> float:
        if self.unit != "bits":
            raise InputError(
                f"{self.measure}: it is no information and has no bits; use value, null_mean and excess"
            )
        return value

    def table(self) -> Table:
        parts = {"all": self, **{str(label): part for label, part in self.classes.items()}}
        rows = [
            (name, e.value, *e.interval, e.null_mean, e.excess, e.p_value if e.null else None, e.n, e.verdict)
            for name, e in parts.items()
        ]
        unit = " bits" if self.unit == "bits" else ""
        return Table(
            f"{self.measure} {self.value:.3f}{unit}, excess over its null {self.excess:.3f}, of {self.n:,}"
            f" examples: {self.verdict}",
            {
                "class": "text",
                "value": "number",
                "low": "number",
                "high": "number",
                "null": "number",
                "excess": "number",
                "p": "number",
                "examples": "count",
                "verdict": "text",
            },
            rows,
            {"measure": self.measure, "unit": self.unit},
            [f"class {label} is left out: {why}" for label, why in self.left_out.items()],
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        from semirobust.figures import Points, points

        unit = table.facts["unit"]
        label = str(table.facts["measure"]) + ("" if unit == "1" else f" ({unit})")
        names = [name if name == "all" else f"class {name}" for name in table.column("class")]
        series = [Points("measured", table.column("value"), table.column("low"), table.column("high"))]
        if any(value is not None for value in table.column("null")):
            series.append(Points("permuted", table.column("null")))
        return points(names, series, x_label=label, percent=False)

    def __str__(self) -> str:
        unit = " bits" if self.unit == "bits" else ""
        return (
            f"{self.measure} {self.value:.3f}{unit}; independent {self.null_mean:.3f} ± {self.null_sd:.3f}, "
            f"excess {self.excess:.3f}, ceiling {self.ceiling:.3f}, n {self.n}: {self.verdict}"
        )


def combine(
    measure: str,
    unit: str,
    raws: Mapping[int, tuple[Raw, int]],
    left_out: Mapping[int, str],
    *,
    conditional: bool,
) -> Estimate:
    """The estimate from one sample, or the sum over classes weighted by their frequency.

    Args:
        measure, unit: the estimator's.
        raws: class -> the result within it, and how many examples it has; one entry where not
            ``conditional``.
        left_out: classes without an estimate, and why.
        conditional: whether it is class-conditional.

    Raises:
        InputError: every class was left out.
    """
    if not raws:
        first = next(iter(left_out.items()))
        raise InputError(f"{measure}: no class has enough to measure, such as class {first[0]}: {first[1]}")
    parts = {label: _estimate(measure, unit, [raw], [1.0]) for label, (raw, _) in raws.items()}
    if not conditional:
        return next(iter(parts.values()))
    total = sum(n for _, n in raws.values())
    whole = _estimate(measure, unit, [raw for raw, _ in raws.values()], [n / total for _, n in raws.values()])
    return Estimate(**{**vars(whole), "classes": parts, "left_out": dict(left_out)})


def _estimate(measure: str, unit: str, raws: Sequence[Raw], weights: Sequence[float]) -> Estimate:
    weight = np.array(weights)
    return Estimate(
        measure=measure,
        unit=unit,
        value=float(weight @ [raw.value for raw in raws]),
        error=float(np.sqrt((weight**2) @ [raw.error**2 for raw in raws])),
        null=tuple(float(v) for v in weight @ np.array([raw.null for raw in raws])),
        ceiling=float(weight @ [raw.ceiling for raw in raws]),
        singletons=float(weight @ [raw.singletons for raw in raws]),
        n=sum(raw.used for raw in raws),
    )
