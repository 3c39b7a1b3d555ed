"""The one look of all charts: colours, marks, type, axes.

Colours are told apart by all kinds of colour vision and have a contrast of 3 to 1 at least on white; a mark
or a style of line says the same once more. Each stands here under a name by which a page can replace it, for
its dark colours.
"""

import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from semirobust.core.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = [
    "BACK",
    "FAINT",
    "HATCHES",
    "INK",
    "LINE",
    "MARKS",
    "NARROW",
    "NEGATIVE",
    "PALETTE",
    "PAPER",
    "POSITIVE",
    "SERIES",
    "SOFT",
    "STROKES",
    "WIDE",
    "WIDTH",
    "canvas",
    "drawing",
    "finished",
    "integer_ticks",
    "legend_above",
    "log_ticks",
    "number",
    "percent_axis",
    "plottable",
    "shown",
    "strokes",
]

WIDTH, WIDE, NARROW = 7.0, 9.5, 3.9
"""Inches across: of a figure by itself, in a wide page, and in one on a telephone."""

INK, SOFT, LINE, PAPER = "#1d2329", "#55616b", "#dde2e6", "#ffffff"
BACK, FAINT = "#b9c2c9", "#eef1f3"  # of what a bar is compared with, and of an empty cell
POSITIVE, NEGATIVE = "#c44e01", "#0072b3"  # the two sides of a scale with a middle
SERIES = ("#0072b2", "#c44e00", "#007f5c", "#a8327d", "#5b6472", "#8c6d31", "#3b8fc2", "#b07a00")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "h")
STROKES = {"solid": "-", "dashed": (0, (5, 2)), "dotted": (0, (1, 1.6))}
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo", "---")

PALETTE = {
    "ink": INK,
    "soft": SOFT,
    "line": LINE,
    "paper": PAPER,
    "back": BACK,
    "faint": FAINT,
    "positive": POSITIVE,
    "negative": NEGATIVE,
    **{f"series-{i}": colour for i, colour in enumerate(SERIES, 1)},
}
"""Name of a colour -> its value on light paper."""

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "semirobust",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "savefig.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "hatch.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "errorbar.capsize": 2.5,
}
_LARGEST, _LEAST = 1e15, 1e-15  # beyond these a number has no place on an axis, or counts as 0
_MANTISSAS = ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))
_TICKS_AN_INCH = 1.6
_LEGEND_ROW = 0.2  # inches
_LEGEND = 24  # names in a legend, more of which nobody can tell apart


@contextmanager
def drawing() -> Iterator[None]:
    """Inside, Matplotlib is set as charts need it, whatever the user's own settings; afterwards as before.

    It says nothing of its cache of fonts, which it makes anew where a home folder cannot be written, nor of
    letters that its own font lacks: pages have the fonts of their reader.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import matplotlib

        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
            warnings.filterwarnings("ignore", r".*constrained_layout not applied", UserWarning)
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            yield
    finally:
        logger.setLevel(level)


def canvas(width: float, height: float, rows: int = 1, columns: int = 1) -> "tuple[Figure, list[Axes]]":
    """A figure of so many inches and its axes, row by row."""
    from semirobust.figures.notebook import Chart

    figure = Chart(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def finished(figure: "Figure") -> "Figure":
    """The figure with all its labels made, none of which is read as mathematics: a name may hold dollars."""
    from matplotlib.text import Text

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_majorticklabels()
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)
    return figure


def shown(text: object, most: int = 40) -> str:
    """A name as it stands in a chart: on one line, without what cannot be seen, and where it is long without
    what lies before its last part, which tells names of runs and layers apart.
    """
    said = printable(" ".join(str(text).split()))
    if len(said) <= most:
        return said
    first = (most - 1) // 3
    return f"{said[:first]}…{said[len(said) - (most - 1 - first) :]}"


def plottable(values: Sequence[float | None]) -> list[float]:
    """The values, NaN where there is none or where it has no place on an axis."""
    none = math.nan
    return [none if v is None or not abs(v) <= _LARGEST else v if abs(v) > _LEAST else 0.0 for v in values]


def number(value: float, digits: int = 3) -> str:
    """A number in so many digits, without an exponent where that can be read."""
    if not math.isfinite(value):
        return "∞" if value == math.inf else "−∞" if value == -math.inf else "–"
    size = abs(value)
    if size >= 10**6 or (value and size < 1e-4):
        return f"{value:.{digits}g}".replace("-", "−")
    places = 2 if not size else max(0, digits - 1 - math.floor(math.log10(size)))
    return f"{value:.{min(places, 6)}f}".replace("-", "−")


def percent_axis(axis: "Axis", label: str) -> None:
    """From 0 to 100 %."""
    axis.set_label_text(label)
    _set(axis, lim=(-2, 102), ticks=range(0, 101, 20))


def integer_ticks(axis: "Axis", values: Sequence[float], most: int = 12) -> None:
    """Ticks at whole numbers alone, at those of ``values`` where they are few: there is no layer 3.5."""
    from matplotlib.ticker import MaxNLocator

    whole = sorted({round(v) for v in values if math.isfinite(v)})
    if 0 < len(whole) <= most:
        axis.set_ticks(whole, [f"{v}" for v in whole])
    else:
        axis.set_major_locator(MaxNLocator(nbins=most, integer=True, min_n_ticks=1))
        axis.set_major_formatter(lambda v, _: f"{v:.0f}")


def log_ticks(axis: "Axis", values: Sequence[float], most: int = 8) -> None:
    """A logarithmic axis with few ticks that can be read, none of them between two others' labels."""
    from matplotlib.ticker import NullLocator

    _set(axis, scale="log")
    axis.set_minor_locator(NullLocator())
    positive = [v for v in values if v > 0 and math.isfinite(v)]
    if not positive:
        return
    low, high = min(positive), max(positive)
    if high / low < 1.05:
        low, high = low / 1.5, high * 1.5
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = max(1, -(-(last - first) // most))
    ticks = [10.0**e for e in range(first, last + 1, step)]
    for mantissas in _MANTISSAS:
        finer = [m * 10.0**e for e in range(first, last + 1) for m in mantissas]
        finer = [tick for tick in finer if low * 0.999 <= tick <= high * 1.001]
        if step == 1 and len(finer) <= most:
            ticks = finer or ticks
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    span = (high / low) ** 0.04
    _set(axis, lim=(low / span, high * span))


def legend_above(axes: "Axes", width: float, *, least: int = 2) -> None:
    """A legend above the chart in as many columns as fit, where it tells at least ``least`` things apart."""
    handles, names = axes.get_legend_handles_labels()
    if len(names) < least:
        return
    if len(names) > _LEGEND:
        left_out = len(names) - _LEGEND
        handles, names = handles[:_LEGEND], [*names[: _LEGEND - 1], f"… and {left_out + 1} more"]
    longest = max(map(len, names))
    columns = max(1, min(len(names), int(width / (0.075 * longest + 0.6))))
    figure, rows = axes.get_figure(root=True), -(-len(names) // columns)
    if figure is None:
        return
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * (rows - 1))  # the chart keeps its own height
    figure.legend(handles, names, loc="outside upper left", ncols=columns, columnspacing=1.2)


def strokes(
    axes: "Axes", ends: Iterable[tuple[float, float, float, float]], colour: str, width: float = 1.2
) -> None:
    """Straight lines from (x, y) to (x, y), all of them one path: many make no large file."""
    x, y = list[float](), list[float]()
    for x0, y0, x1, y1 in ends:
        x += [x0, x1, math.nan]
        y += [y0, y1, math.nan]
    if x:
        axes.plot(x, y, color=colour, linewidth=width, solid_capstyle="butt")


def _set(axis: "Axis", **values: object) -> None:
    """Set limits, ticks or scale of one of the two axes."""
    name = "x" if axis is axis.axes.xaxis else "y"
    axis.axes.set(**{f"{name}{key}": value for key, value in values.items()})
