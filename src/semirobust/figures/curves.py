"""Lines over an axis, with their intervals as bands or as whiskers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from semirobust.figures.style import (
    INK,
    MARKS,
    SERIES,
    SOFT,
    STROKES,
    WIDTH,
    canvas,
    drawing,
    finished,
    integer_ticks,
    legend_above,
    log_ticks,
    percent_axis,
    plottable,
    shown,
    strokes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Curve", "Stroke", "lines"]

Stroke = Literal["solid", "dashed", "dotted"]

_MARKED = 40  # points on a line, more of which would hide it under their marks


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Attributes:
        name: as it stands in the legend; empty leaves it out.
        x, y: its points; a y that is not finite is a gap.
        low, high: ends of their intervals, empty where there are none.
        group: lines of one group have one colour and one mark; None is a group of its own.
        stroke: which tells lines of one group apart.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    group: int | None = None
    stroke: Stroke = "solid"


def lines(
    curves: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    references: Sequence[tuple[str, float]] = (),
    interval: Literal["band", "whiskers"] = "whiskers",
    x_scale: Literal["linear", "integer", "log", "log, falling"] = "linear",
    percent: bool = False,
    width: float = WIDTH,
    height: float = 0.0,
) -> "Figure":
    """Curves in one chart.

    Args:
        curves: in the order of the legend.
        x_label, y_label, title: with their units.
        references: names and heights of levels, drawn across.
        interval: how the intervals are drawn.
        x_scale: ``integer`` for layers and epochs; ``log, falling`` from the largest to the smallest.
        percent: y is from 0 to 100.
        width, height: in inches; 0 is a height that fits.
    """
    with drawing():
        figure, (axes,) = canvas(width, height or (3.4 if width > 5 else 3.1))
        for position, curve in enumerate(curves):
            _draw(axes, curve, position if curve.group is None else curve.group, interval)
        for name, level in references:
            if math.isfinite(level):
                axes.axhline(level, color=SOFT, linestyle=STROKES["dashed"], linewidth=1.2)
                where = axes.get_yaxis_transform()
                said = shown(name, 30)
                axes.text(1.0, level, said, transform=where, ha="right", va="bottom", color=INK, fontsize=9)
        _axes(axes, [x for curve in curves for x in curve.x], x_scale, x_label, width)
        if percent:
            percent_axis(axes.yaxis, shown(y_label, 80))
        else:
            axes.set_ylabel(shown(y_label, 80))
        if title:
            axes.set_title(shown(title, 80), loc="left")
        legend_above(axes, width)
        return finished(figure)


def _draw(axes: "Axes", curve: Curve, group: int, interval: str) -> None:
    colour, mark = SERIES[group % len(SERIES)], MARKS[group % len(MARKS)]
    x, y = plottable(curve.x), plottable(curve.y)
    name = shown(curve.name) or "_nolegend_"
    every = mark if len(x) <= _MARKED else "none"
    axes.plot(x, y, color=colour, marker=every, linestyle=STROKES[curve.stroke], label=_label(name))
    if not curve.low or not curve.high:
        return
    low, high = plottable(curve.low), plottable(curve.high)
    if interval == "band":
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        return
    finite = [(a, b, c) for a, b, c in zip(x, low, high, strict=True) if math.isfinite(b + c)]
    strokes(axes, [(a, b, a, c) for a, b, c in finite], colour, 1.1)


def _label(name: str) -> str:
    """Matplotlib leaves names that begin with an underscore out of a legend."""
    return name if name == "_nolegend_" or not name.startswith("_") else f" {name}"


def _axes(axes: "Axes", x: Sequence[float], scale: str, label: str, width: float) -> None:
    axes.set_xlabel(shown(label, 80))
    found, most = [v for v in plottable(x) if math.isfinite(v)], 12 if width > 5 else 6
    if scale == "integer":
        integer_ticks(axes.xaxis, found, most)
    elif scale.startswith("log"):
        log_ticks(axes.xaxis, found, 8 if width > 5 else 5)
        if scale == "log, falling":
            axes.invert_xaxis()
    elif found and min(found) >= 0:
        axes.set_xlim(left=0, right=max(found) * 1.04 or 1.0)
