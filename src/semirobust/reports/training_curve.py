"""How the index moved over training, and which layers trained when."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from semirobust.records.schema import Number
from semirobust.reports.figures import styled
from semirobust.reports.source import Source

__all__ = ["course_figure"]


def course_figure(source: Source, measure: str = "criticality") -> go.Figure | None:
    """Layers down, epochs across, one panel for each arm: the measure where it was followed, dots where a
    layer trained.
    """
    found, trained = (
        [
            n for n in source.named(name) if "suffix" not in n.labels
        ]  # a suffix of several sizes has a figure of its own
        for name in (f"validation.{measure}", "train.layer")
    )
    arms = list(dict.fromkeys(str(n.labels["arm"]) for n in (*found, *trained)))
    if not arms:
        return None
    figure = make_subplots(
        rows=len(arms), cols=1, subplot_titles=arms, vertical_spacing=min(0.28 / len(arms), 0.12)
    )
    values = [math.log2(n.value) for n in found if int(n.labels["layer"]) > 1 and 0 < n.value < math.inf]
    reach = max((abs(v) for v in values), default=1.0)
    layers = max(int(n.labels["layer"]) for n in (*found, *trained))
    for row, arm in enumerate(arms, 1):
        own = [n for n in found if n.labels["arm"] == arm]
        if own:
            figure.add_trace(_heat(own, layers, reach, row == 1), row=row, col=1)
        figure.add_trace(_dots([n for n in trained if n.labels["arm"] == arm]), row=row, col=1)
    figure.update_yaxes(title="layer", range=[0.5, layers + 0.5], dtick=1 if layers <= 20 else 10)
    most = max(int(n.labels["epoch"]) for n in (*found, *trained))
    figure.update_xaxes(dtick=1 if most <= 20 else None, tickformat="d", range=[0.5, most + 0.5])
    figure.update_xaxes(title="epoch", row=len(arms), col=1)
    figure.update_layout(showlegend=False)
    styled(figure, 120 + (60 + 14 * min(layers, 30)) * len(arms))
    return figure.update_layout(margin_t=40)


def _heat(numbers: Sequence[Number], layers: int, reach: float, scale: bool) -> go.Heatmap:
    """The mean over seeds as a power of two; the first layer's is a weakness and no ratio, so it stays
    blank.
    """
    epochs = sorted({int(n.labels["epoch"]) for n in numbers})
    cells: dict[tuple[int, int], list[float]] = {}
    for n in numbers:
        if 0 < n.value < math.inf and int(n.labels["layer"]) > 1:
            cells.setdefault((int(n.labels["layer"]), int(n.labels["epoch"])), []).append(math.log2(n.value))
    rows = [[_mean(cells.get((layer, epoch), [])) for epoch in epochs] for layer in range(1, layers + 1)]
    return go.Heatmap(
        z=rows,
        x=epochs,
        y=list(range(1, layers + 1)),
        zmin=-reach,
        zmax=reach,
        colorscale="RdBu_r",
        showscale=scale,
        colorbar={"title": "log₂ C"},
        hovertemplate="epoch %{x}, layer %{y}: 2^%{z:.2f}<extra></extra>",
    )


def _dots(numbers: Sequence[Number]) -> go.Scatter:
    """A dot for each layer that trained in an epoch, the larger the more seeds trained it."""
    seeds = max(len({n.labels.get("seed") for n in numbers}), 1)
    counts: dict[tuple[int, int], int] = {}
    for n in numbers:
        key = int(n.labels["epoch"]), int(n.labels["layer"])
        counts[key] = counts.get(key, 0) + 1
    return go.Scatter(
        x=[epoch for epoch, _ in counts],
        y=[layer for _, layer in counts],
        mode="markers",
        marker={
            "color": "#111",
            "size": [4 + 6 * c / seeds for c in counts.values()],
            "line": {"color": "white", "width": 1},
        },
        text=[f"{count} of {seeds} seeds" for count in counts.values()],
        hovertemplate="epoch %{x}: layer %{y} trained, %{text}<extra></extra>",
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
