"""What heads and read-outs of each prefix reach."""

import plotly.graph_objects as go

from semirobust.records.schema import Number, Quantity
from semirobust.reports.figures import COLOURS, styled
from semirobust.reports.source import Cell, Source

__all__ = ["prefix_figures"]

# Measure -> its part -> words for it.
_WORDS: dict[str, dict[str | None, str]] = {
    "semirobustness": {
        None: "under attack",
        "accuracy": "share right under attack",
        "clean": "clean",
    },
    "readout": {
        None: "ridge, other half",
        "attacked": "ridge, attacked itself",
        "paper": "as in the paper, in sample",
        "random": "random weights",
        "network": "the network itself",
    },
}


def prefix_figures(source: Source) -> dict[str, go.Figure]:
    """``semirobustness``: the margin gamma_j of a head on each prefix; ``readout``: accuracy of linear
    read-outs of it.
    """
    titles = {
        "semirobustness": "margin of a head on the prefix; share right",
        "readout": "accuracy on adversarial examples, %",
    }
    figures = {name: _figure(source, name, title) for name, title in titles.items()}
    return {name: figure for name, figure in figures.items() if figure is not None}


def _figure(source: Source, measure: str, title: str) -> go.Figure | None:
    words = _WORDS[measure]
    parts = [part for part in words if source.of(Quantity.MEASURE, measure=measure, part=part)]
    if not parts:
        return None
    arms = source.arms(Quantity.MEASURE, measure=measure, part=parts[0])
    factor = 100 if measure == "readout" else 1
    figure = go.Figure()
    for position, (arm, part) in enumerate((arm, part) for arm in arms for part in parts):
        numbers = source.of(Quantity.MEASURE, arm, measure=measure, part=part)
        by_layer: dict[int, list[Number]] = {}
        for number in numbers:
            by_layer.setdefault(number.about.layer or 0, []).append(number)
        found = [(layer, Cell.of(by_layer[layer])) for layer in sorted(by_layer)]
        name = f"{arm}: {words[part]}" if len(arms) > 1 else words[part]
        figure.add_trace(
            go.Scatter(
                x=[layer for layer, _ in found],
                y=[factor * cell.value for _, cell in found],
                name=name,
                mode="lines+markers",
                line={"color": COLOURS[position % len(COLOURS)], "width": 2},
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "thickness": 1.2,
                    "array": [factor * _reach(cell, up=True) for _, cell in found],
                    "arrayminus": [factor * _reach(cell, up=False) for _, cell in found],
                },
                hovertemplate=f"{name}, prefix of " + "%{x}: %{y:.3g}<extra></extra>",
            )
        )
    figure.update_xaxes(title="last layer of the prefix")
    figure.update_yaxes(title=title)
    return styled(figure, 360)


def _reach(cell: Cell, *, up: bool) -> float:
    bound = cell.high if up else cell.low
    return 0.0 if bound is None else abs(bound - cell.value)
