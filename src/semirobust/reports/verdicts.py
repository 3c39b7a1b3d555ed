"""Every network against every other: which is better under attack, and where nobody can tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from semirobust.core.difference import holm, paired_p, proportions_p, unpaired_p
from semirobust.records.schema import Number, Quantity
from semirobust.reports.arm import Arm, AttackColumn
from semirobust.reports.source import Source

__all__ = ["Against", "Matrix", "verdict_table"]

_MOST = 24  # networks of a matrix, more of which nobody reads
_NAMED = 5  # networks whose names fit above the columns
_LEVEL = 0.05
_SIGNS = {"better": "▲", "worse": "▼", "equal": "=", "unknown": "?"}


@dataclass(frozen=True)
class Against:
    """A row against a column.

    Attributes:
        outcome: of the row.
        lead: mean accuracy of the row less that of the column, in points; None where none is to be had.
        p: adjusted for the number of pairs.
        why: where nothing can be said.
    """

    outcome: Literal["better", "worse", "equal", "unknown"]
    lead: float | None = None
    p: float | None = None
    why: str = ""

    @property
    def sign(self) -> str:
        """What says the same as the colour."""
        return _SIGNS[self.outcome]

    @property
    def words(self) -> str:
        """The same for a reader who does not see it."""
        return {"equal": "cannot be told apart", "unknown": "not known"}.get(self.outcome, self.outcome)

    @property
    def points(self) -> str:
        """The lead with its sign; that of a tie has none."""
        if self.lead is None:
            return ""
        said = f"{self.lead:+.1f}".replace("-", "−")
        return "0.0" if said[1:] == "0.0" else said

    @property
    def small(self) -> str:
        """What stands below."""
        if self.p is None:
            return self.why
        return "p < 0.001" if self.p < 0.001 else f"p {self.p:.3f}" if self.p < 0.1 else f"p {self.p:.2f}"

    def turned(self) -> "Against":
        """The column against the row."""
        other = {"better": "worse", "worse": "better"}
        outcome = other.get(self.outcome, self.outcome)
        return Against(outcome, None if self.lead is None else -self.lead, self.p, self.why)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Matrix:
    """All pairs of some networks.

    Attributes:
        arms: in rows and columns.
        cells: row by row; None on the diagonal.
        attack: that all pairs are compared under; empty where it differs.
        over: how they were compared.
        whys: why some were not.
        left_out: networks that have no room.
    """

    arms: Sequence[Arm]
    cells: Sequence[Sequence[Against | None]]
    attack: str
    over: Sequence[str]
    whys: Sequence[str]
    left_out: int = 0

    @property
    def numbered(self) -> bool:
        """Whether columns have numbers in place of names, for which there is no room."""
        return len(self.arms) > _NAMED


def verdict_table(source: Source, arms: Sequence[Arm]) -> Matrix | None:
    """Of networks that were measured under one condition; None for one alone, and for levels of pruning.

    Methods with several seeds are compared over these, in pairs within a run and by Welch's test between
    runs; networks that were measured once, and name no seed of training, over their images. One seed of a
    method decides nothing.
    """
    every = [arm for arm in arms if arm.level is None]
    arms = every[:_MOST]
    if len(arms) < 2:
        return None
    attacks = {arm: _columns(source, arm) for arm in arms}
    found = {(a, b): _compared(source, a, b, attacks) for a, b in combinations(arms, 2)}
    told = [pair for pair, (_, p, _, _) in found.items() if p is not None]
    adjusted = dict(zip(told, holm([found[pair][1] or 0.0 for pair in told]), strict=True))
    cells: dict[tuple[Arm, Arm], Against] = {}
    for (a, b), (lead, _, why, _) in found.items():
        cells[a, b] = _against(lead, adjusted.get((a, b)), why)
        cells[b, a] = cells[a, b].turned()
    under = {name for _, _, _, name in found.values() if name}
    return Matrix(
        arms,
        [[cells.get((a, b)) for b in arms] for a in arms],
        under.pop() if len(under) == 1 else "",
        list(dict.fromkeys(why for pair, (_, _, why, _) in found.items() if pair in adjusted)),
        list(dict.fromkeys(why for pair, (_, _, why, _) in found.items() if pair not in adjusted)),
        len(every) - len(arms),
    )


def _against(lead: float | None, p: float | None, why: str) -> Against:
    if lead is None or p is None:
        return Against("unknown", lead, None, why)
    if p >= _LEVEL or f"{abs(lead):.1f}" == "0.0":
        return Against("equal", lead, p)
    return Against("better" if lead > 0 else "worse", lead, p)


def _columns(source: Source, arm: Arm) -> list[AttackColumn]:
    """The attacks that an arm was measured under, all together as one that names them."""
    found = [attack for attack in source.attacks() if source.accuracy(arm, attack)]
    names = " and ".join(attack.name for attack in found if attack.name not in ("clean", "worst"))
    return [AttackColumn(names, None) if a.name == "worst" else a for a in found if a.name != "clean"]


def _compared(
    source: Source, one: Arm, other: Arm, attacks: dict[Arm, list[AttackColumn]]
) -> tuple[float | None, float | None, str, str]:
    """Lead in points, p, how or why not, and the attack."""
    common = [attack for attack in attacks[one] if attack in attacks[other]]
    if not common:
        return None, None, "no attack in common", ""
    attack = common[-1]
    alone = any(n.about.attack == attack.name for n in source.of(Quantity.ACCURACY, one))
    column = attack if alone else AttackColumn("worst")
    fields = {"attack": column.name, "cumulative": column.cumulative}
    a, b = (source.of(Quantity.ACCURACY, arm, **fields) for arm in (one, other))  # type: ignore[arg-type]
    lead = 100 * (_mean(a) - _mean(b))
    p, why = _tested(a, b, same_run=one.run == other.run)
    return lead, p, why, str(attack)


def _tested(a: Sequence[Number], b: Sequence[Number], *, same_run: bool) -> tuple[float | None, str]:
    n = min((number.n for number in (*a, *b) if number.n), default=0)
    if not n:
        return None, "images not known"
    runs = [
        {(number.about.seed, number.about.trial): number.value for number in numbers} for numbers in (a, b)
    ]
    if all(set(each) == {(None, None)} for each in runs):
        return proportions_p(a[0].value, b[0].value, n), f"their {n:,} images"
    of = "trials" if any(trial is not None for each in runs for _, trial in each) else "seeds"
    both = [key for key in runs[0] if key in runs[1]]
    if same_run and len(both) > 1:
        differences = [runs[0][key] - runs[1][key] for key in both]
        return paired_p(differences, resolution=1 / n), f"{len(both)} {of}, in pairs"
    if not same_run and min(map(len, runs)) > 1:
        one, other = (list(each.values()) for each in runs)
        return unpaired_p(one, other, resolution=1 / n), f"{len(one)} and {len(other)} {of}"
    return None, "one seed"


def _mean(numbers: Sequence[Number]) -> float:
    return sum(number.value for number in numbers) / len(numbers)
