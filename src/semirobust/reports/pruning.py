"""Accuracy by the share of weights that is left."""

from dataclasses import replace

import plotly.graph_objects as go

from semirobust.records.schema import Number
from semirobust.reports.figures import COLOURS, reach, styled
from semirobust.reports.source import Cell, Source

__all__ = ["by_level", "pruned_rows", "pruning_figure"]

_SHOWN = 4  # levels beside the first in the table of arms


def by_level(source: Source) -> Source:
    """The same with some levels of pruning as arms of their own, named by what is left; the others and their
    epochs left out.
    """
    levels = source.values_of("prune.density", "level")
    if not levels:
        return source
    last = len(levels) - 1
    shown = {levels[round(last * i / _SHOWN)] for i in range(_SHOWN + 1)}
    return replace(source, numbers=[_named(n, source) for n in source.numbers if _keeps(n, shown)])


def _keeps(number: Number, shown: set[str]) -> bool:
    if "level" not in number.labels:
        return True
    return (
        number.name in ("accuracy", "train.parameters", "train.seconds")
        and str(number.labels["level"]) in shown
    )


def _named(number: Number, source: Source) -> Number:
    level = number.labels.get("level")
    if level is None:
        return number
    left = source.cell("prune.density", arm=str(number.labels["arm"]), level=str(level))
    share = f", {100 * left.value:.3g} % left" if left else f", level {level}"
    return number.model_copy(update={"labels": {**number.labels, "arm": f"{number.labels['arm']}{share}"}})


def pruned_rows(source: Source) -> list[tuple[str, float, dict[str, Cell]]]:
    """Arm, share of weights left, and attack -> accuracy, level by level."""
    rows = []
    for arm in source.values_of("prune.density", "arm"):
        for level in source.values_of("prune.density", "level"):
            left = source.cell("prune.density", arm=arm, level=level)
            attacks = source.values_of("accuracy", "attack")
            cells = {
                attack: source.cell("accuracy", arm=arm, level=level, attack=attack) for attack in attacks
            }
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
    attacks = [attack for attack in rows[0][2] if attack != "worst"]
    for position, arm in enumerate(dict.fromkeys(row[0] for row in rows)):
        own = [(100 * left, cells) for name, left, cells in rows if name == arm]
        for attack, dash in ((attacks[0], "dot"), (attacks[-1], "solid")):
            found = [(left, cells[attack]) for left, cells in own if attack in cells]
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
