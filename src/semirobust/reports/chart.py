"""A chart of a page with all that belongs to it: what it says, how it is drawn, its numbers as a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from semirobust.core.text import printable
from semirobust.figures.style import NARROW, WIDE, number
from semirobust.records.schema import Number
from semirobust.reports.source import Cell
from semirobust.reports.svg import inline_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Chart", "Drawn", "drawn", "in_words", "share"]

_ROWS = 300  # of a table, more of which nobody reads; all are in the records


@dataclass(frozen=True)
class Chart:
    """What a section of a page needs of a chart.

    Attributes:
        name: of its section, in the address too.
        title: of the section.
        says: what is drawn, and how it is to be read.
        described: the same for a reader who does not see it, who has the table for the numbers.
        draw: the figure at a width in inches.
        head, rows: its numbers as a table.
        holds: whether a number is among them, so that no other table repeats it.
        note: what must be known beside it.
    """

    name: str
    title: str
    says: str
    described: str
    draw: "Callable[[float], Figure]"
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    holds: Callable[[Number], bool]
    note: str = ""

    @property
    def rows_shown(self) -> Sequence[Sequence[str]]:
        """As many rows as have room, of all parts of the chart."""
        step = -(-len(self.rows) // _ROWS) or 1
        return self.rows[::step]

    @property
    def left_out(self) -> int:
        """How many have none."""
        return len(self.rows) - len(self.rows_shown)


@dataclass(frozen=True)
class Drawn:
    """A chart in two widths, of which a page shows the one that fits."""

    chart: Chart
    wide: Markup
    narrow: Markup


def drawn(chart: Chart | None) -> Drawn | None:
    """The chart as SVG; None for none."""
    if chart is None:
        return None
    title, described = printable(chart.title), f"{chart.described} The numbers are in the table below it."
    wide, narrow = (
        inline_svg(chart.draw(width), f"{chart.name}-{kind}", title=title, description=described, kind=kind)
        for width, kind in ((WIDE, "wide"), (NARROW, "narrow"))
    )
    return Drawn(chart, wide, narrow)


def share(cell: Cell | None) -> str:
    """An accuracy in per cent with its interval."""
    if cell is None:
        return "–"
    said = f"{100 * cell.value:.1f}"
    return said if cell.low is None or cell.high is None else f"{said} ({cell.ends})"


def in_words(cell: Cell | None) -> str:
    """A number with its interval."""
    if cell is None:
        return "–"
    said = number(cell.value)
    return (
        said
        if cell.low is None or cell.high is None
        else f"{said} ({number(cell.low)} to {number(cell.high)})"
    )
