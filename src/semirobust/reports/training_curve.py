"""How the index moved over training, and which layers trained when."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from semirobust.records.schema import Number, Quantity
from semirobust.reports.figures import styled
from semirobust.reports.source import Source

__all__ = ["training_curve_figure"]


def training_curve_figure(source: Source, measure: str = "criticality") -> go.Figure | None:
    """Layers down, epochs across, one panel for each arm: the measure where it was followed, dots where a
    layer trained.
    """
    followed = source.of(Quantity.VALIDATION_MEASURE, measure=measure)
    found, trained = (
        [n for n in numbers if not _of_a_recovery(n)]
        for numbers in (followed, source.of(Quantity.TRAINED_LAYER))
    )
    arms = list(dict.fromkeys(source.arm_of(n) for n in (*found, *trained)))
    if not arms:
        return None
    figure = make_subplots(
        rows=len(arms),
        cols=1,
        subplot_titles=list(map(str, arms)),
        vertical_spacing=min(0.28 / len(arms), 0.12),
    )
    values = [math.log2(n.value) for n in found if _layer(n) > 1 and 0 < n.value < math.inf]
    reach = max((abs(v) for v in values), default=1.0)
    layers = max(_layer(n) for n in (*found, *trained))
    for row, arm in enumerate(arms, 1):
        numbers = [n for n in found if source.arm_of(n) == arm]
        if numbers:
            figure.add_trace(_heat(numbers, layers, reach, row == 1), row=row, col=1)
        figure.add_trace(_dots([n for n in trained if source.arm_of(n) == arm]), row=row, col=1)
    figure.update_yaxes(title="layer", range=[0.5, layers + 0.5], dtick=1 if layers <= 20 else 10)
    epochs = max(_epoch(n) for n in (*found, *trained))
    figure.update_xaxes(dtick=1 if epochs <= 20 else None, tickformat="d", range=[0.5, epochs + 0.5])
    figure.update_xaxes(title="epoch", row=len(arms), col=1)
    figure.update_layout(showlegend=False)
    styled(figure, 120 + (60 + 14 * min(layers, 30)) * len(arms))
    return figure.update_layout(margin_t=40)


def _heat(numbers: Sequence[Number], layers: int, reach: float, scale: bool) -> go.Heatmap:
    """The mean over seeds as a power of two; the first layer's is a weakness and no ratio, so it stays
    blank.
    """
    epochs = sorted({_epoch(n) for n in numbers})
    cells: dict[tuple[int, int], list[float]] = {}
    for n in numbers:
        if 0 < n.value < math.inf and _layer(n) > 1:
            cells.setdefault((_layer(n), _epoch(n)), []).append(math.log2(n.value))
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
    seeds = max(len({n.about.seed for n in numbers}), 1)
    counts: dict[tuple[int, int], int] = {}
    for n in numbers:
        key = _epoch(n), _layer(n)
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


def _of_a_recovery(number: Number) -> bool:
    """A suffix of several sizes behind the robust prefix has a figure of its own."""
    return number.about.suffix is not None and number.about.prefix is None


def _layer(number: Number) -> int:
    return number.about.layer or 0


def _epoch(number: Number) -> int:
    return number.about.epoch or 0


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
