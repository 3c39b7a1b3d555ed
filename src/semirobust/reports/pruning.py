"""Accuracy by the share of weights that is left."""

from dataclasses import replace

from semirobust.figures import Curve, lines
from semirobust.figures.curves import Stroke
from semirobust.figures.style import number
from semirobust.records.schema import Number, Quantity
from semirobust.reports.arm import Arm, AttackColumn
from semirobust.reports.chart import Chart, share
from semirobust.reports.figures import ends_of, listed_names
from semirobust.reports.source import Cell, Source

__all__ = ["by_level", "pruned_rows", "pruning_chart"]

_BY_LEVEL = (Quantity.ACCURACY, Quantity.TRAINED_PARAMETERS, Quantity.EPOCH_SECONDS)
_SHOWN = 4  # levels beside the first in the table of arms


def by_level(source: Source) -> Source:
    """The same with some levels of pruning as arms of their own, named by what is left; the others and their
    epochs left out.
    """
    levels = _levels(source)
    if not levels:
        return source
    last = len(levels) - 1
    shown = {levels[round(last * i / _SHOWN)] for i in range(_SHOWN + 1)}
    densities = {
        (arm.run, arm.name, level): cell.value
        for arm in source.arms(Quantity.DENSITY)
        for level in levels
        if (cell := source.cell(Quantity.DENSITY, arm, level=level))
    }
    return replace(source, numbers=[n for n in source.numbers if _keeps(n, shown)], densities=densities)


def _levels(source: Source) -> list[int]:
    return source.values(Quantity.DENSITY, lambda about: about.level)


def _keeps(number: Number, shown: set[int]) -> bool:
    if number.about.level is None:
        return True
    return number.quantity in _BY_LEVEL and number.about.level in shown


def pruned_rows(source: Source) -> list[tuple[Arm, float, dict[AttackColumn, Cell]]]:
    """Arm, fraction of weights left, and attack -> accuracy, level by level."""
    rows, attacks = [], source.attacks()
    for arm in source.arms(Quantity.DENSITY):
        for level in _levels(source):
            left = source.cell(Quantity.DENSITY, arm, level=level)
            cells = {attack: source.accuracy(arm, attack, level=level) for attack in attacks}
            if left:
                rows.append((arm, left.value, {attack: cell for attack, cell in cells.items() if cell}))
    return rows


def pruning_chart(source: Source) -> Chart | None:
    """Clean accuracy and accuracy under the strongest attack by weights left, on a logarithmic scale: a line
    for each arm.
    """
    rows = [row for row in pruned_rows(source) if row[1] > 0]
    if not rows:
        return None
    attacks = list(dict.fromkeys(a for row in rows for a in row[2] if a.name != "worst"))
    arms, curves = list(dict.fromkeys(row[0] for row in rows)), list[Curve]()
    ends = dict.fromkeys((attacks[0], attacks[-1]) if attacks else ())
    for position, arm in enumerate(arms):
        levels = [(100 * left, cells) for other, left, cells in rows if other == arm]
        for attack in ends:
            stroke: Stroke = "solid" if attack == attacks[-1] else "dotted"
            found = [(left, cells[attack]) for left, cells in levels if attack in cells]
            low, high = ([v or 0.0 for v in e] for e in ends_of([c for _, c in found]))
            x, y = [left for left, _ in found], [100 * c.value for _, c in found]
            curves.append(Curve(f"{arm}, {attack}", x, y, low, high, group=position, stroke=stroke))
    return Chart(
        name="pruning",
        title="How many weights can go?",
        says="At each level the least of what is left is pruned and the rest trained again; a pruned"
        " weight stays 0"
        " throughout. Solid: under the strongest attack, dotted: clean; whiskers are 95 % intervals.",
        described=f"Line chart: accuracy of {listed_names(map(str, arms))} by the share of weights left.",
        draw=lambda width: lines(
            curves,
            x_label="weights left, %",
            y_label="accuracy, %",
            x_scale="log, falling",
            percent=True,
            width=width,
        ),
        head=("", "weights left, %", *(f"{attack}, %" for attack in attacks)),
        rows=[
            (str(arm), number(100 * left), *(share(cells.get(a)) for a in attacks))
            for arm, left, cells in rows
        ],
        holds=lambda n: n.quantity is Quantity.DENSITY and n.about.level is not None,
    )
