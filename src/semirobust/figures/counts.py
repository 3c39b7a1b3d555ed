"""How many of many numbers fall where."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semirobust.figures.style import (
    HATCHES,
    INK,
    SERIES,
    SOFT,
    STROKES,
    WIDTH,
    canvas,
    drawing,
    finished,
    legend_above,
    plottable,
    shown,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Panel", "histograms"]

_FEWEST = 10  # bars in a histogram, of however few numbers


@dataclass(frozen=True)
class Panel:
    """One of several histograms.

    Attributes:
        title: above it.
        values: name -> numbers; several names lie over each other, each with a colour and a hatching.
    """

    title: str
    values: Mapping[str, Sequence[float]]


def histograms(
    panels: Sequence[Panel],
    *,
    y_label: str = "features",
    x_label: str = "",
    bins: int = 40,
    zero: bool = True,
    width: float = WIDTH,
) -> "Figure":
    """Panels side by side, two in a row where there is room.

    Args:
        panels: what to draw.
        y_label, x_label: what is counted, and over what.
        bins: bars in each at most, fewer of few numbers.
        zero: mark 0.
        width: in inches; the height fits the panels.
    """
    columns = min(len(panels), 2) if width > 5 else 1
    rows = -(-len(panels) // max(columns, 1))
    with drawing():
        figure, axes = canvas(width, 0.6 + 2.1 * rows, rows, columns)
        names = list(dict.fromkeys(name for panel in panels for name in panel.values))
        for at, (place, panel) in enumerate(zip(axes, panels)):
            numbers = {
                name: [v for v in plottable(values) if v == v] for name, values in panel.values.items()
            }
            everything = [v for values in numbers.values() for v in values]
            edges = _edges(everything, min(bins, max(_FEWEST, len(everything) // 4)))
            for name, values in numbers.items() if everything else ():
                i = names.index(name)
                place.hist(
                    values, bins=edges, histtype="stepfilled", color=SERIES[i % len(SERIES)],
                    edgecolor=INK, linewidth=0.6,
                    hatch=HATCHES[i % len(HATCHES)], alpha=1.0 if len(names) == 1 else 0.65,
                    label=shown(name) or "_nolegend_",
                )  # fmt: skip
            if zero:
                place.axvline(0, color=SOFT, linestyle=STROKES["dotted"], linewidth=1.2)
            place.set_title(shown(panel.title, 60 if width > 5 else 44), loc="left", fontsize=9.5)
            place.set_ylabel(y_label if at % columns == 0 else "")
            place.set_xlabel(shown(x_label, 80))
        for place in axes[len(panels) :]:
            place.set_visible(False)
        legend_above(axes[0], width)
        return finished(figure)


def _edges(values: Sequence[float], bins: int) -> list[float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if not high > low or math.isclose(high, low, rel_tol=1e-9):
        low, high = low - 0.5 * max(abs(low), 1.0), high + 0.5 * max(abs(high), 1.0)
    return [low + (high - low) * i / bins for i in range(bins + 1)]
