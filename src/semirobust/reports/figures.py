"""Charts, by Plotly."""

from collections.abc import Iterable

import plotly.graph_objects as go

from semirobust.records.schema import Quantity
from semirobust.reports.arm import Arm
from semirobust.reports.source import Cell, Source

__all__ = [
    "COLOURS",
    "accuracy_figure",
    "curves_figure",
    "reach",
    "security_figure",
    "styled",
    "transfer_figure",
]

# Okabe and Ito's palette, told apart by all kinds of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8c6d31")
_TRAIN = Arm("train")
_VALIDATION = (
    (Quantity.VALIDATION_ROBUST, "robust", "solid"),
    (Quantity.VALIDATION_CLEAN, "clean", "dot"),
)
_FONT = {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13, "color": "#222"}


def accuracy_figure(source: Source) -> go.Figure | None:
    """Accuracy of each arm, clean and under each attack, as points with intervals.

    ``worst`` is left out: it would lie on the strongest attack.
    """
    arms = source.arms(Quantity.ACCURACY)
    if not arms:
        return None
    figure = go.Figure()
    attacks = [attack for attack in source.attacks() if attack.name != "worst"]
    for position, attack in enumerate(attacks):
        cells = [(arm, cell) for arm in arms if (cell := source.accuracy(arm, attack))]
        figure.add_trace(
            go.Scatter(
                x=[100 * cell.value for _, cell in cells],
                y=[str(arm) for arm, _ in cells],
                mode="markers",
                name=str(attack),
                marker={"size": 10, "color": COLOURS[position % len(COLOURS)]},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [reach(cell, up=True) for _, cell in cells],
                    "arrayminus": [reach(cell, up=False) for _, cell in cells],
                    "thickness": 1.5,
                },
                hovertemplate=f"%{{y}}, {attack}" + ": %{x:.1f} %<extra></extra>",
            )
        )
    figure.update_yaxes(autorange="reversed", automargin=True, ticklabelstandoff=6)
    figure.update_xaxes(title="accuracy, %", range=[0, 101])
    return styled(figure, 110 + 44 * len(arms))


def reach(cell: Cell, *, up: bool) -> float:
    """How far the interval of a share goes up or down, in points."""
    bound = cell.high if up else cell.low
    if bound is None:
        return 0.0
    limited = min(max(bound, 0.0), 1.0)  # an interval over few seeds can leave [0, 1]
    return 100 * abs(limited - cell.value)


def curves_figure(source: Source) -> go.Figure | None:
    """Validation accuracy by epoch, each arm going on where training from scratch ended."""
    followed = [n for n in source.of(Quantity.VALIDATION_ROBUST) if n.about.epoch is not None]
    arms = list(dict.fromkeys(source.arm_of(n) for n in followed))
    if not arms:
        return None
    start = max((n.about.epoch or 0 for n in followed if source.arm_of(n) == _TRAIN), default=0)
    figure = go.Figure()
    for position, arm in enumerate(arms):
        offset = 0 if arm == _TRAIN else start
        for quantity, name, dash in _VALIDATION:
            epochs, values = _mean_by_epoch(source, quantity, arm)
            figure.add_trace(
                go.Scatter(
                    x=[epoch + offset for epoch in epochs],
                    y=[100 * value for value in values],
                    mode="lines+markers" if len(epochs) < 3 else "lines",
                    name=str(arm) if name == "robust" else f"{arm}, clean",
                    legendgroup=str(arm),
                    showlegend=name == "robust",
                    line={"dash": dash, "color": COLOURS[position % len(COLOURS)], "width": 2},
                    hovertemplate=f"{arm}, {name}: " + "%{y:.1f} %<extra></extra>",
                )
            )
    figure.update_xaxes(title="epoch", rangemode="tozero")
    figure.update_yaxes(title="validation accuracy, %", range=[0, 101])
    return styled(figure, 380)


def security_figure(source: Source) -> go.Figure | None:
    """Accuracy against the radius of the ball, each arm a curve with its interval as a band."""
    quantity = Quantity.ACCURACY_BY_EPSILON
    arms, norms = source.arms(quantity), source.values(quantity, lambda about: about.norm)
    if not arms:
        return None
    figure = go.Figure()
    curves = [(arm, norm) for arm in arms for norm in norms if source.cell(quantity, arm, norm=norm)]
    radii = sorted(source.values(quantity, lambda about: about.epsilon))
    for position, (arm, norm) in enumerate(curves):
        name = f"{arm}, {norm}" if len(norms) > 1 else str(arm)
        colour = COLOURS[position % len(COLOURS)]
        cells = [(e, c) for e in radii if (c := source.cell(quantity, arm, norm=norm, epsilon=e))]
        x, y = [e for e, _ in cells], [100 * c.value for _, c in cells]
        low, high = (
            [v - reach(c, up=False) for (_, c), v in zip(cells, y)],
            [v + reach(c, up=True) for (_, c), v in zip(cells, y)],
        )
        band = {
            "fill": "toself",
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
            "opacity": 0.2,
        }
        figure.add_trace(
            go.Scatter(x=[*x, *x[::-1]], y=[*high, *low[::-1]], fillcolor=colour, mode="lines", **band)
        )
        figure.add_trace(
            go.Scatter(
                x=x, y=y, name=name, mode="lines+markers", line={"color": colour, "width": 2},
                hovertemplate=f"{arm}, \u03b5 %{{x:.4g}}: " + "%{y:.1f} %<extra></extra>",
            )
        )  # fmt: skip
        left = [source.cell(Quantity.UNDECIDED_BY_EPSILON, arm, norm=norm, epsilon=e) for e in x]
        if any(left):
            above = [v + 100 * cell.value if cell else v for v, cell in zip(y, left)]
            figure.add_trace(
                go.Scatter(
                    x=x, y=above, name=f"{name}, or not decided", mode="lines",
                    line={"color": colour, "width": 2, "dash": "dot"},
                    hovertemplate=f"{arm}, \u03b5 %{{x:.4g}}: " + "%{y:.1f} % or not decided<extra></extra>",
                )
            )  # fmt: skip
    figure.update_xaxes(title=f"\u03b5 ({' or '.join(norms)}, pixels in [0, 1])", rangemode="tozero")
    figure.update_yaxes(title="accuracy, %", range=[0, 101])
    figure.update_layout(showlegend=len(figure.data) > 2)
    return styled(figure, 380)


def transfer_figure(source: Source) -> go.Figure | None:
    """Accuracy of each model (across) on examples made for each (down)."""
    quantity = Quantity.TRANSFER_ACCURACY
    arms = source.arms(quantity)
    if not arms:
        return None
    found = {
        (arm, s, t): cell
        for arm in arms
        for s in source.values(quantity, lambda about: about.source)
        for t in source.values(quantity, lambda about: about.target)
        if (cell := source.cell(quantity, arm, source=s, target=t))
    }
    # Several runs stand apart, each with its own models and attack.
    keys = list(dict.fromkeys((arm, s) for arm, s, _ in found))
    names = [f"{arm}: {name}" if len(arms) > 1 else name for arm, name in keys]
    cells = [[found.get((arm, s, t)) if arm == other else None for other, t in keys] for arm, s in keys]
    shares = [[100 * cell.value if cell else None for cell in row] for row in cells]
    texts = [["" if v is None else f"{v:.1f}" for v in row] for row in shares]
    heat = go.Heatmap(
        z=shares,
        x=names,
        y=names,
        text=texts,
        texttemplate="%{text}",
        zmin=0,
        zmax=100,
        colorscale="Blues",
        xgap=2,
        ygap=2,
        colorbar={"title": "%"},
        hovertemplate="made for %{y}, seen by %{x}: %{z:.1f} %<extra></extra>",
    )
    figure = go.Figure(heat)
    figure.update_xaxes(title="seen by")
    figure.update_yaxes(title="made for", autorange="reversed", automargin=True)
    return styled(figure, 160 + 56 * len(names))


def _mean_by_epoch(source: Source, quantity: Quantity, arm: Arm) -> tuple[list[int], list[float]]:
    by_epoch: dict[int, list[float]] = {}
    for number in source.of(quantity, arm):
        if number.about.epoch is not None:
            by_epoch.setdefault(number.about.epoch, []).append(number.value)
    epochs = sorted(by_epoch)
    return epochs, [_mean(by_epoch[epoch]) for epoch in epochs]


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def styled(figure: go.Figure, height: int) -> go.Figure:
    """The figure in the report's type, colours and margins."""
    figure.update_layout(
        height=height,
        font=_FONT,
        paper_bgcolor="#fff",
        plot_bgcolor="#fff",
        margin={"l": 8, "r": 12, "t": 8, "b": 44},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
        hovermode="closest",
    )
    figure.update_xaxes(gridcolor="#e6e6e6", zeroline=False)
    figure.update_yaxes(gridcolor="#e6e6e6", zeroline=False)
    return figure
