"""Accuracy by the share of weights that is left."""

from dataclasses import replace

import plotly.graph_objects as go

from semirobust.records.schema import Number, Quantity
from semirobust.reports.arm import Arm, AttackColumn
from semirobust.reports.figures import COLOURS, reach, styled
from semirobust.reports.source import Cell, Source

__all__ = ["by_level", "pruned_rows", "pruning_figure"]

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


def pruning_figure(source: Source) -> go.Figure | None:
    """Clean accuracy and accuracy under the strongest attack by weights left, on a logarithmic scale: a line
    for each arm.
    """
    rows = pruned_rows(source)
    if not rows:
        return None
    figure = go.Figure()
    attacks = [attack for attack in rows[0][2] if attack.name != "worst"]
    for position, arm in enumerate(dict.fromkeys(row[0] for row in rows)):
        levels = [(100 * left, cells) for other, left, cells in rows if other == arm]
        for attack, dash in ((attacks[0], "dot"), (attacks[-1], "solid")):
            found = [(left, cells[attack]) for left, cells in levels if attack in cells]
            figure.add_trace(
                go.Scatter(
                    x=[left for left, _ in found],
                    y=[100 * cell.value for _, cell in found],
                    mode="lines+markers",
                    name=f"{arm}, {attack}",
                    line={"color": COLOURS[position % len(COLOURS)], "dash": dash, "width": 2},
                    error_y={
                        "type": "data",
                        "symmetric": False,
                        "thickness": 1,
                        "width": 2,
                        "array": [reach(cell, up=True) for _, cell in found],
                        "arrayminus": [reach(cell, up=False) for _, cell in found],
                    },
                    hovertemplate=f"{arm}, {attack}: "
                    + "%{y:.1f} % with %{x:.2g} % of the weights<extra></extra>",
                )
            )
    figure.update_xaxes(title="weights left, %", type="log", autorange="reversed")
    figure.update_yaxes(title="accuracy, %", rangemode="tozero")
    return styled(figure, 420)
