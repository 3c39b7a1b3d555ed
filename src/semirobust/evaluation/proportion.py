"""Accuracies with their intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from semirobust.core.interval import proportion_interval
from semirobust.core.shown import AbstractResult
from semirobust.core.table import Cell, Kind, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "VERDICT_COLUMNS",
    "Accuracy",
    "Proportion",
    "Summary",
    "drawn_accuracies",
    "not_decided",
    "verdict_cells",
]

VERDICT_COLUMNS: Mapping[str, Kind] = {
    "accuracy": "share",
    "low": "share",
    "high": "share",
    "correct": "count",
    "examples": "count",
    "undecided": "count",
}
"""What stands in a table of an accuracy under attack, by :func:`verdict_cells`."""


class Proportion(float):
    """``count / n``, a number that knows its exact binomial 95 % interval; it cannot be changed.

    Attributes:
        count, n: how many examples, and of how many.
        low, high: the interval.
    """

    __slots__ = ("count", "high", "low", "n")

    count: int
    n: int
    low: float
    high: float

    def __new__(cls, count: int, n: int) -> "Proportion":
        proportion = super().__new__(cls, count / n)
        low, high = proportion_interval(count, n)
        for name, value in (("count", count), ("n", n), ("low", low), ("high", high)):
            object.__setattr__(proportion, name, value)
        return proportion

    @classmethod
    def of(cls, correct: Tensor) -> "Proportion":
        """The fraction of true entries in (N,)."""
        return cls(int(correct.sum()), len(correct))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a proportion cannot be changed; got a new {name}")

    def __reduce__(self) -> tuple[type["Proportion"], tuple[int, int]]:
        # A float is copied and pickled by its value alone, which would lose n.
        return type(self), (self.count, self.n)

    def __str__(self) -> str:
        return f"{self:.1%} [{self.low:.1%}, {self.high:.1%}]"


def verdict_cells(value: Proportion, undecided: int) -> tuple[Cell, ...]:
    """The values under ``VERDICT_COLUMNS``."""
    return (value, value.low, value.high, value.count, value.n, undecided)


def not_decided(count: int, n: int) -> str:
    """What stands behind an accuracy that leaves ``count`` of ``n`` examples open; nothing where it is 0."""
    return f", {count / n:.1%} not decided" if count else ""


class Summary(AbstractResult, Mapping[str, Proportion]):
    """Accuracies by name, which cannot be changed; prints as a table, with what a reader must know below."""

    def __init__(
        self,
        accuracies: Mapping[str, Proportion],
        notes: Sequence[str] = (),
        undecided: Mapping[str, int] | None = None,
    ) -> None:
        self._accuracies, self._notes = dict(accuracies), tuple(notes)
        self.undecided = dict(undecided or {})
        """How many examples an accuracy leaves open, where there are such."""

    def __getitem__(self, name: str) -> Proportion:
        return self._accuracies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._accuracies)

    def __len__(self) -> int:
        return len(self._accuracies)

    def __str__(self) -> str:
        width = max(map(len, self))
        rows = [
            f"{name:<{width}}  {accuracy}{not_decided(self.undecided.get(name, 0), accuracy.n)}"
            for name, accuracy in self.items()
        ]
        return "\n".join([*rows, *(f"Note: {note}." for note in self._notes)])

    def table(self) -> Table:
        rows = [(name, *verdict_cells(value, self.undecided.get(name, 0))) for name, value in self.items()]
        shown = ", ".join(f"{name} {value:.1%}" for name, value in self.items())
        n = next(iter(self.values())).n
        return Table(
            f"{shown} of {n:,} examples",
            {
                "attack": "text",
                **VERDICT_COLUMNS,
            },
            rows,
            notes=self._notes,
        )

    @staticmethod
    def drawn(table: Table) -> "Figure":
        return drawn_accuracies(table)


def drawn_accuracies(table: Table) -> "Figure":
    """Accuracy under each attack, with its interval."""
    from semirobust.figures import Points, points

    ends = table.percent("low"), table.percent("high")
    series = [Points("accuracy, with its 95 % interval", table.percent("accuracy"), *ends)]
    if any(table.column("undecided")):
        rows = zip(table.column("correct"), table.column("undecided"), table.column("examples"), strict=True)
        series.append(
            Points("where all that is not decided were robust", [100 * (c + u) / n for c, u, n in rows])
        )
    return points(table.column("attack"), series)


@dataclass(frozen=True)
class Accuracy:
    """One accuracy of an evaluation.

    Attributes:
        attack: the attack's name; ``clean`` for none, ``worst`` for all together.
        value: the accuracy with its interval.
        threat: what the attack was allowed to do; "" where there is none, or not one alone.
        cumulative: the attack counts together with those of its threat model before it.
        undecided: how many more examples nothing was found against, though that says nothing.
    """

    attack: str
    value: Proportion
    threat: str = ""
    cumulative: bool = False
    undecided: int = 0

    @property
    def name(self) -> str:
        """``+ attack`` where the attack counts together with those before it."""
        return f"+ {self.attack}" if self.cumulative else self.attack
