"""A bar for each layer, with its interval."""

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from semirobust.figures.style import (
    BACK,
    INK,
    SERIES,
    SOFT,
    WIDTH,
    canvas,
    drawing,
    finished,
    legend_above,
    number,
    plottable,
    shown,
    strokes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["layer_bars"]

_NUMBERED, _NAMED = 0.42, 0.16  # inches that a number on a bar and a name below it take
_NAMES = 60  # bars that have their names below them


def layer_bars(
    labels: Sequence[object],
    values: Sequence[float],
    *,
    low: Sequence[float | None] = (),
    high: Sequence[float | None] = (),
    behind: Sequence[float | None] = (),
    behind_name: str = "permuted",
    marked: Collection[int] = (),
    marked_name: str = "trained",
    base: float = 0.0,
    log: bool = False,
    x_label: str = "layer",
    y_label: str = "",
    title: str = "",
    width: float = WIDTH,
    height: float = 0.0,
) -> "Figure":
    """One bar for each layer, from the line of ``base``.

    Args:
        labels: number or name of each layer.
        values: heights; one that is not finite has no bar, and a dash in its place.
        low, high: ends of the whiskers, None where there is none.
        behind: what each value is compared with, such as that of permuted examples; a hatched bar before it.
        behind_name: of these in the legend.
        marked: positions, from 0, of bars that are drawn in another colour and hatched.
        marked_name: of these in the legend.
        base: where bars begin; 1 for ratios.
        log: a logarithmic scale of powers of two; values must be above 0 there.
        x_label, y_label, title: with their units.
        width, height: in inches; 0 is a height that fits.
    """
    with drawing():
        figure, (axes,) = canvas(width, height or (3.2 if width > 5 else 3.0))
        values = plottable(values)
        if log:
            values = [v if v > 0 else math.nan for v in values]
            axes.set_yscale("log", base=2)
        _bars(axes, values, base, marked, marked_name)
        if behind:
            others = [v if v == v else base for v in plottable(behind)]
            heights = [v - base for v in others]
            axes.bar(
                range(len(others)), heights, 0.62, base, color=BACK, hatch="///", edgecolor=SOFT,
                linewidth=0.6, label=shown(behind_name),
            )  # fmt: skip
        ends = _whiskers(axes, values, low, high, log=log)
        _scale(axes, [*values, *ends], base, log=log)
        axes.axhline(base, color=SOFT, linewidth=1.0)
        place = (width - 0.9) / max(len(values), 1)
        if place >= _NUMBERED:
            _numbers(axes, values, low, high, base)
        _names(axes, labels, place)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(shown(x_label, 80))
        axes.set_ylabel(shown(y_label, 80))
        if title:
            axes.set_title(shown(title, 80), loc="left")
        legend_above(axes, width, least=1 if behind or marked else 2)
        return finished(figure)


def _bars(axes: "Axes", values: Sequence[float], base: float, marked: Collection[int], name: str) -> None:
    for chosen in (False, True):
        found = [i for i, v in enumerate(values) if v == v and (i in marked) is chosen]
        if found:
            axes.bar(
                found, [values[i] - base for i in found], 0.62, base, color=SERIES[1 if chosen else 0],
                edgecolor=INK if chosen else "none", linewidth=0.8 if chosen else 0,
                hatch="///" if chosen else "", label=shown(name) if chosen else "_nolegend_",
            )  # fmt: skip


def _whiskers(
    axes: "Axes",
    values: Sequence[float],
    low: Sequence[float | None],
    high: Sequence[float | None],
    *,
    log: bool,
) -> list[float]:
    """Draws them and gives their ends."""
    found, ends = list[float](), list[tuple[float, float, float, float]]()
    for i, (value, bottom, top) in enumerate(zip(values, plottable(low), plottable(high))):
        if all(map(math.isfinite, (value, bottom, top))) and not (log and bottom <= 0):
            ends += [(i, bottom, i, top), (i - 0.1, bottom, i + 0.1, bottom), (i - 0.1, top, i + 0.1, top)]
            found += [bottom, top]
    strokes(axes, ends, INK)
    return found


def _scale(axes: "Axes", values: Sequence[float], base: float, *, log: bool) -> None:
    found = [v for v in values if v == v]
    bottom, top = min([base, *found]), max([base, *found])
    if not log:
        room = 0.12 * (top - bottom) or 1.0
        axes.set_ylim(bottom - (room if bottom < base else 0), top + room)
        return
    from matplotlib.ticker import NullLocator

    low, high = min(math.log2(bottom), -0.5) * 1.25, max(math.log2(top), 0.5) * 1.25
    step = max(1, math.ceil((high - low) / 7))
    exponents = [e for e in range(math.ceil(low), math.floor(high) + 1) if e % step == 0]
    axes.set_ylim(2.0**low, 2.0**high)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticks([2.0**e for e in exponents], [f"{2.0**e:.3g}" for e in exponents])


def _numbers(
    axes: "Axes",
    values: Sequence[float],
    low: Sequence[float | None],
    high: Sequence[float | None],
    base: float,
) -> None:
    """Each number beyond its bar and whisker."""
    none = [math.nan] * len(values)
    for i, (value, *ends) in enumerate(zip(values, [*plottable(low), *none], [*plottable(high), *none])):
        below = value < base
        far = (min if below else max)([v for v in (value, *ends) if v == v], default=base)
        axes.annotate(
            number(value), (i, far), (0, -3 if below else 3), textcoords="offset points", fontsize=8.5,
            ha="center", va="top" if below else "bottom",
        )  # fmt: skip


def _names(axes: "Axes", labels: Sequence[object], place: float) -> None:
    said = [shown(label, 22) for label in labels]
    step = 1 if len(said) <= _NAMES else math.ceil(len(said) / _NAMES)
    longest = max(map(len, said), default=1)
    upright = longest * 0.085 > place * step
    if upright and place * step < _NAMED:
        step = math.ceil(_NAMED / place)
    axes.set_xticks(range(0, len(said), step), said[::step], rotation=90 if upright else 0)
    axes.set_xlim(-0.6, max(len(said), 1) - 0.4)
    axes.tick_params(axis="x", length=0)
