"""Numbers in a grid, each cell with its number in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from semirobust.figures.style import (
    BACK,
    FAINT,
    INK,
    NEGATIVE,
    PAPER,
    POSITIVE,
    WIDTH,
    canvas,
    drawing,
    finished,
    plottable,
    shown,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Verdict", "matrix", "verdict_matrix"]

_PALE, _DEEP = (0.93, 0.96, 0.99), (0.03, 0.27, 0.50)  # the ends of the scale, each with a readable text
_DARK, _LIGHT = "#101418", "#fdfdfe"  # of numbers on cells, whose colours a page does not replace
_TOLD = 900  # cells, more of which have no room for a number each


@dataclass(frozen=True)
class Verdict:
    """What is said of a row against a column.

    Attributes:
        outcome: of the row.
        text: such as ``+3.1``.
    """

    outcome: Literal["better", "worse", "equal", "unknown"]
    text: str = ""


_OUTCOMES = {
    "better": ("▲", NEGATIVE, PAPER),
    "worse": ("▼", POSITIVE, PAPER),
    "equal": ("=", FAINT, INK),
    "unknown": ("?", FAINT, INK),
}


def matrix(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    x_label: str = "",
    y_label: str = "",
    title: str = "",
    limits: tuple[float, float] = (0.0, 100.0),
    digits: int = 1,
    width: float = WIDTH,
) -> "Figure":
    """A grid, the darker a cell the higher its number, which stands in it; a dash where there is none. Of
    very many cells the colours alone are drawn.

    Args:
        values: row by row; None where there is none.
        rows, columns: their names.
        x_label, y_label, title: what columns and rows are.
        limits: of the scale of colours.
        digits: of the numbers, behind the point.
        width: in inches; the height fits the rows.
    """
    low, high = limits
    with drawing():
        figure, axes = _grid(rows, columns, width, x_label, y_label, title)
        shares = [[(v - low) / (high - low) for v in plottable(row)] for row in values]
        if sum(map(len, shares)) > _TOLD:
            _picture(axes, shares)
            return finished(figure)
        for i, row in enumerate(values):
            for j, value in enumerate(plottable(row)):
                if math.isnan(value):
                    _cell(axes, i, j, FAINT, "–", INK)
                    continue
                ink = _LIGHT if shares[i][j] > 0.5 else _DARK
                _cell(axes, i, j, _shade(shares[i][j]), f"{value:.{digits}f}", ink)
        return finished(figure)


def _shade(share: float) -> tuple[float, ...]:
    share = min(max(share, 0.0), 1.0)
    return tuple(a + share * (b - a) for a, b in zip(_PALE, _DEEP))


def _picture(axes: "Axes", shares: Sequence[Sequence[float]]) -> None:
    """All cells at once, as pixels; white where there is no number."""
    width = max(map(len, shares))
    rows = [[*row, *[math.nan] * (width - len(row))] for row in shares]
    pixels = [[(1.0, 1.0, 1.0) if v != v else _shade(v) for v in row] for row in rows]
    axes.imshow(
        pixels, aspect="auto", interpolation="none", extent=(-0.5, width - 0.5, len(rows) - 0.5, -0.5)
    )


def verdict_matrix(
    names: Sequence[str],
    verdicts: Sequence[Sequence[Verdict | None]],
    *,
    x_label: str = "against",
    y_label: str = "",
    title: str = "",
    width: float = WIDTH,
) -> "Figure":
    """What each row is against each column: better, worse, not to be told apart, or not known; by a sign, a
    colour and a number.

    Args:
        names: of rows and columns.
        verdicts: row by row; None on the diagonal.
        x_label, y_label, title: what columns and rows are.
        width: in inches; the height fits the rows.
    """
    with drawing():
        figure, axes = _grid(names, names, width, x_label, y_label, title)
        for i, row in enumerate(verdicts):
            for j, verdict in enumerate(row):
                if verdict is None:
                    _cell(axes, i, j, BACK, "", INK)
                    continue
                sign, colour, ink = _OUTCOMES[verdict.outcome]
                _cell(axes, i, j, colour, f"{sign} {shown(verdict.text, 12)}".strip(), ink)
        return finished(figure)


def _grid(
    rows: Sequence[str], columns: Sequence[str], width: float, x_label: str, y_label: str, title: str
) -> "tuple[Figure, Axes]":
    names = 30 if width > 5 else 14
    said = [shown(name, names) for name in columns]
    upright = max(map(len, said), default=1) * 0.085 > (width - 2.0) / max(len(said), 1)
    figure, (axes,) = canvas(
        width, 1.0 + 0.42 * len(rows) + (0.07 * max(map(len, said), default=0) if upright else 0)
    )
    axes.set_xticks(range(len(columns)), said, rotation=90 if upright else 0)
    axes.set_yticks(range(len(rows)), [shown(name, names) for name in rows])
    axes.set_xlim(-0.5, max(len(columns), 1) - 0.5)
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(shown(x_label, 80))
    axes.set_ylabel(shown(y_label, 80))
    if title:
        axes.set_title(shown(title, 80), loc="left")
    return figure, axes


def _cell(axes: "Axes", row: int, column: int, colour: object, text: str, ink: str) -> None:
    from matplotlib.patches import Rectangle

    place = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor=PAPER, linewidth=1.5)
    axes.add_patch(place)
    if text:
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=9.5)
