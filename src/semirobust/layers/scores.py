"""One number for each layer of a model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semirobust.core.shown import AbstractResult
from semirobust.core.table import Cell, Kind, Table, plain_cell
from semirobust.core.text import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Floats",
    "LayerScores",
    "ScoreName",
    "drawn_layers",
    "highest",
    "kind_of",
    "layer_columns",
    "layer_rows",
]

Floats = NDArray[np.float64]
_LONGEST, _INCHES, _WIDTH = 22, 0.08, 6.0  # of names below bars: letters, their size, room for all


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


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class LayerScores(AbstractResult):
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
        names: (L,) the names of these layers in the model, where they are known.
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
    features: Mapping[int, Floats] = field(default_factory=dict)
    part: str = ""
    names: tuple[str, ...] = ()

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
        names: tuple[str, ...] = (),
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
            names=names,
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

    def table(self) -> Table:
        more = {name: list(values) for name, values in self.details.items() if name not in _COLUMNS}
        rows = layer_rows(self.indices, self.names, self.values, self.low, self.high, *more.values())
        columns: dict[str, Kind] = {
            **layer_columns(self.names),
            **{name: kind_of(v) for name, v in more.items()},
        }
        facts: dict[str, Cell] = {
            "measure": self.measure,
            "part": self.part,
            "unit": self.unit,
            "by": self.by or None,
            "examples": self.examples,
            "layers": self.layers,
        }
        unit = "" if self.unit == "1" else f" in {self.unit}"
        by = f" by {self.by}" if self.by else ""
        return Table(
            f"{self.name}{unit}{by} of {len(self)} layers on {self.examples:,} examples{highest(self)}",
            columns,
            rows,
            facts,
            self.notes,
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        label = ".".join(str(table.facts[key]) for key in ("measure", "part") if table.facts.get(key))
        unit = table.facts.get("unit", "1")
        return drawn_layers(table, label if unit == "1" else f"{label} ({unit})", "value")


_COLUMNS = ("layer", "name", "value", "low", "high")


def drawn_layers(table: Table, label: str, value: str, *, behind: str = "") -> "Figure":
    """A bar for each layer, by its number, and its name where that is known.

    Args:
        table: with the columns ``layer``, ``low`` and ``high``.
        label: of the axis.
        value: the column of the heights.
        behind: a column of what they are compared with.
    """
    from semirobust.figures import layer_bars

    labels = [str(number) for number in table.column("layer")]
    if "name" in table.columns:
        names = table.column("name")
        folders = [name.split(".")[:-1] for name in names]
        shared = len(list(takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))))
        if len(names) > 1:
            names = [".".join(name.split(".")[shared:]) for name in names]
        labels = [f"{label} {name}" for label, name in zip(labels, names, strict=True)]
    longest = min(max(map(len, labels)), _LONGEST)
    room = longest * _INCHES if longest * _INCHES * len(labels) > _WIDTH else 0.0  # where they stand upright
    return layer_bars(
        labels,
        table.numbers(value),
        low=table.column("low"),
        high=table.column("high"),
        behind=table.column(behind) if behind else (),
        y_label=label,
        height=3.2 + room,
    )


def layer_columns(names: Sequence[str], value: str = "value") -> dict[str, Kind]:
    """The columns of a number by layer with its interval."""
    named: dict[str, Kind] = {"name": "text"} if names else {}
    return {"layer": "count", **named, value: "number", "low": "number", "high": "number"}


def layer_rows(
    indices: Sequence[int], names: Sequence[str], *columns: Sequence[str | int | float] | Floats
) -> list[tuple[Cell, ...]]:
    """Rows that begin with the layer, and its name where names are known."""
    first = [indices, names] if names else [indices]
    return [tuple(plain_cell(cell) for cell in row) for row in zip(*first, *columns, strict=True)]


def kind_of(values: Sequence[str | int | float]) -> Kind:
    """What a column of such values holds."""
    kinds = {type(plain_cell(value)) for value in values} - {type(None)}
    if kinds <= {bool} and kinds:
        return "flag"
    if kinds <= {int} and kinds:
        return "count"
    return "number" if kinds <= {int, float} else "text"


def highest(scores: "LayerScores", count: int = 3) -> str:
    """A clause with the layers of the highest numbers; empty where there are none."""
    top = scores.measured()[:count]
    if not top:
        return ", of which none has a number"
    return f", highest in layer{'s' * (len(top) > 1)} {', '.join(map(str, top))}"
