"""Points with whiskers, row by row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semirobust.figures.style import (
    MARKS,
    SERIES,
    SOFT,
    STROKES,
    WIDTH,
    canvas,
    drawing,
    finished,
    legend_above,
    percent_axis,
    plottable,
    shown,
    strokes,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Points", "points"]


@dataclass(frozen=True)
class Points:
    """One point in each row, such as accuracy under one attack.

    Attributes:
        name: as it stands in the legend.
        values: one for each row; None where it has none.
        low, high: ends of their intervals, None where there is none.
    """

    name: str
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


def points(
    rows: Sequence[str],
    series: Sequence[Points],
    *,
    x_label: str = "accuracy, %",
    percent: bool = True,
    references: Sequence[tuple[str, float]] = (),
    title: str = "",
    width: float = WIDTH,
) -> "Figure":
    """Rows from top to bottom, in each a point with its whisker for each of ``series``.

    Args:
        rows: their names.
        series: in the order of the legend; each has a colour and a mark, and its own height within a row.
        x_label: with its unit.
        percent: values are from 0 to 100.
        references: names and values of levels, drawn from top to bottom, such as chance.
        title: above the chart.
        width: in inches; the height fits the rows.
    """
    count, names = max(len(series), 1), 36 if width > 5 else 22
    with drawing():
        figure, (axes,) = canvas(width, 1.1 + len(rows) * max(0.34, 0.15 * count))
        for position, each in enumerate(series):
            colour, mark = SERIES[position % len(SERIES)], MARKS[position % len(MARKS)]
            shift = 0.62 * ((position + 0.5) / count - 0.5)
            x, y = plottable(each.values), [row + shift for row in range(len(rows))]
            axes.plot(x, y, marker=mark, color=colour, linestyle="none", markersize=6, label=shown(each.name))
            ends = list(zip(plottable(each.low), plottable(each.high), strict=True))
            told = [(row, *two) for row, two in enumerate(ends) if all(map(math.isfinite, (x[row], *two)))]
            spans = [(low, y[row], high, y[row]) for row, low, high in told]
            caps = [(end, y[row] - 0.07, end, y[row] + 0.07) for row, *two in told for end in two]
            strokes(axes, [*spans, *caps], colour, 1.3)
        for name, level in references:
            axes.axvline(level, color=SOFT, linestyle=STROKES["dotted"], linewidth=1.4, label=shown(name))
        axes.set_yticks(range(len(rows)), [shown(row, names) for row in rows])
        axes.set_ylim(len(rows) - 0.45, -0.55)
        axes.grid(visible=False, axis="y")
        if percent:
            percent_axis(axes.xaxis, shown(x_label, 80))
        else:
            axes.set_xlabel(shown(x_label, 80))
        if title:
            axes.set_title(shown(title, 80), loc="left")
        legend_above(axes, width, least=1)
        return finished(figure)
