"""What heads and read-outs of each prefix reach."""

import plotly.graph_objects as go

from semirobust.reports.figures import COLOURS, styled
from semirobust.reports.source import Cell, Source

__all__ = ["prefix_figures"]

_NAMES = {
    "layer.semirobustness": "under attack",
    "layer.semirobustness.accuracy": "share right under attack",
    "layer.semirobustness.clean": "clean",
    "layer.readout": "ridge, other half",
    "layer.readout.attacked": "ridge, attacked itself",
    "layer.readout.paper": "as in the paper, in sample",
    "layer.readout.random": "random weights",
    "layer.readout.network": "the network itself",
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
    kinds = [name for name in _NAMES if name.split(".")[1] == measure and source.named(name)]
    if not kinds:
        return None
    arms = source.values_of(kinds[0], "arm")
    factor = 100 if measure == "readout" else 1
    figure = go.Figure()
    for position, (arm, kind) in enumerate((arm, kind) for arm in arms for kind in kinds):
        layers = sorted({int(n.labels["layer"]) for n in source.named(kind) if n.labels["arm"] == arm})
        found = [(layer, cell) for layer in layers if (cell := source.cell(kind, arm=arm, layer=str(layer)))]
        name = f"{arm}: {_NAMES[kind]}" if len(arms) > 1 else _NAMES[kind]
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
