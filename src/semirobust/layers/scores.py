"""One number for each layer of a model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semirobust.core.text import listed

__all__ = ["Floats", "LayerScores", "ScoreName"]

Floats = NDArray[np.float64]


class ScoreName(NamedTuple):
    """Which number of which measure by layer.

    Attributes:
        measure: the measure's name, such as ``connectivity``.
        part: which of its numbers, such as ``excess``; "" for its main one.
    """

    measure: str
    part: str = ""

    def __str__(self) -> str:
        return f"{self.measure}.{self.part}" if self.part else self.measure


@dataclass(frozen=True, kw_only=True)
class LayerScores:
    """A measure by layer, with a 95 % interval.

    Attributes:
        measure: what was measured, such as ``criticality``.
        part: which of the numbers of that measure, such as ``excess``; "" for its main one.
        unit: its unit; "1" for a ratio.
        indices: (L,) the layers measured, from 1, ascending.
        values: (L,) one number each.
        low, high: (L,) the interval.
        examples: the number of examples it was measured on.
        layers: the number of layers of the model; the last one is its classifier.
        notes: sentences that a reader of the scores must know.
        by: the estimator, where there is a choice.
        details: more about each layer, by name, such as its verdict: (L,) numbers or words each.
        features: layer -> (d,) one number for each of its features, whose mean is in ``values``; empty where
            the measure has none.
    """

    measure: str
    unit: str
    indices: tuple[int, ...]
    values: Floats
    low: Floats
    high: Floats
    examples: int
    layers: int
    notes: tuple[str, ...] = ()
    by: str = ""
    details: Mapping[str, Sequence[str | int | float]] = field(default_factory=dict)
    features: Mapping[int, Floats] = field(default_factory=dict, repr=False)
    part: str = ""

    def explained(self, why: str) -> "LayerScores":
        """The same with a note on the layers without a number, where there are such; ``why`` says why."""
        missing = [i for i, value in self.by_index().items() if math.isnan(value)]
        if not missing:
            return self
        note = f"{self.measure}: no number in {listed(missing, 'layer')}, because {why}"
        return replace(self, notes=(*self.notes, note))

    @property
    def key(self) -> ScoreName:
        """The measure and its part."""
        return ScoreName(self.measure, self.part)

    @property
    def name(self) -> str:
        """The measure, and its part behind a dot."""
        return str(self.key)

    def by_index(self) -> dict[int, float]:
        """The value of each layer, by its index."""
        return {i: float(value) for i, value in zip(self.indices, self.values, strict=True)}

    @classmethod
    def from_rows(
        cls,
        measure: str,
        rows: Sequence[Sequence[float]],
        *,
        indices: tuple[int, ...],
        examples: int,
        layers: int,
        unit: str = "1",
        by: str = "",
        part: str = "",
    ) -> "LayerScores":
        """From (value, low, high) of each layer, (L, 3)."""
        values, low, high = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        return cls(
            measure=measure,
            unit=unit,
            indices=indices,
            values=values,
            low=low,
            high=high,
            examples=examples,
            layers=layers,
            by=by,
            part=part,
        )

    @classmethod
    def without_interval(
        cls, measure: str, values: Floats, *, indices: tuple[int, ...], examples: int, layers: int
    ) -> "LayerScores":
        """Numbers (L,) in unit 1 whose interval is not known: both of its ends are the number itself."""
        return cls(
            measure=measure,
            unit="1",
            indices=indices,
            values=values,
            low=values,
            high=values,
            examples=examples,
            layers=layers,
        )

    def __len__(self) -> int:
        return len(self.indices)

    def measured(self) -> tuple[int, ...]:
        """:meth:`ranking` without the layers that have no number."""
        numbers = self.by_index()
        return tuple(index for index in self.ranking() if not math.isnan(numbers[index]))

    def ranking(self) -> tuple[int, ...]:
        """Layer indices by falling value; of equal values the earlier layer comes first, and those without a
        number (NaN) come last.
        """
        return tuple(self.indices[i] for i in np.argsort(-self.values, kind="stable"))
