"""Tables on a terminal: as wide as it is, broken between columns, and never within a word or a number."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from semirobust.core.text import printable

__all__ = ["laid_out", "wrapped"]

_GAP = 2  # spaces between columns
_LEAST = 24  # columns of text are not made narrower than this, so that sentences stay readable

Cell = str | Sequence[str]


@dataclass(frozen=True)
class _Column:
    """A column as it can be shown.

    Attributes:
        name: its heading.
        cells: the lines of each row's cell.
        left: whether it holds words, which may be wrapped, and not numbers.
    """

    name: str
    cells: tuple[tuple[str, ...], ...]
    left: bool

    @property
    def texts(self) -> list[str]:
        return [self.name, *(line for cell in self.cells for line in cell)]

    @property
    def width(self) -> int:
        """What it takes unwrapped; a heading of several words goes over several lines."""
        cells = max((cell_len(line) for cell in self.cells for line in cell), default=0)
        return max(cells, min(cell_len(self.name), max(cells, self.word(self.name), 12)))

    @property
    def least(self) -> int:
        """What it takes at least: its longest word, and of numbers all."""
        if not self.left:
            return self.width
        return max(min(self.width, _LEAST), max(map(self.word, self.texts), default=0))

    @staticmethod
    def word(text: str) -> int:
        return max(map(cell_len, text.split()), default=0)


def laid_out(
    header: Sequence[str], rows: Sequence[Sequence[Cell]], width: int, *, left: bool = False
) -> list[str]:
    """The lines of a table that is no wider than ``width``.

    Where not all columns fit beside each other, those of words are wrapped; where that is not enough the
    table goes on below with its first column again; where not even one column fits beside the first, each row
    is written as lines of their own. Only a word that is wider than the terminal is left as it is.

    Args:
        header: names of the columns.
        rows: cells; a cell is a text, or several for one below the other.
        width: of the terminal.
        left: all columns hold words; else the first alone, and numbers stand at the right.
    """
    columns = [
        _Column(
            printable(name),
            tuple(_lines(row[i]) for row in rows),
            left or i == 0,
        )
        for i, name in enumerate(header)
    ]
    if not columns:
        return []
    first, *rest = columns
    if not rest:
        return _table(columns, width)
    if any(_GAP + first.least + each.least > width for each in rest):
        return _blocks(columns, width)
    parts: list[list[_Column]] = [[]]
    for each in rest:
        taken = first.least + sum(_GAP + other.least for other in (*parts[-1], each))
        if parts[-1] and taken > width:
            parts.append([])
        parts[-1].append(each)
    lines: list[str] = []
    for number, part in enumerate(parts):
        lines += [*[""] * bool(number), *_table([first, *part], width)]
    return lines


def _lines(cell: Cell) -> tuple[str, ...]:
    return tuple(map(printable, [cell] if isinstance(cell, str) else cell)) or ("",)


def _table(columns: Sequence[_Column], width: int) -> list[str]:
    """Columns that fit beside each other once those of words are wrapped."""
    widths = [column.width for column in columns]
    spare = width - _GAP * (len(columns) - 1)
    while sum(widths) > spare:
        room = [(w - c.least, i) for i, (w, c) in enumerate(zip(widths, columns, strict=True)) if c.left]
        most, i = max(room, default=(0, 0))
        if most <= 0:
            break
        # The widest gives way first, down to the next one.
        second = max((each for each, j in room if j != i), default=0)
        widths[i] -= max(1, min(sum(widths) - spare, most - second))
    head = [_cell([column.name], w) for column, w in zip(columns, widths, strict=True)]
    rows = [
        [_cell(cells, w) for cells, w in zip(row, widths, strict=True)]
        for row in zip(*(column.cells for column in columns), strict=True)
    ]
    lines = [
        *_beside(head, columns, widths, bottom=True),
        "-" * min(width, sum(widths) + _GAP * len(widths) - _GAP),
    ]
    several = any(len(cell) > 1 for row in rows for cell in row) and len(rows) > 1
    for number, row in enumerate(rows):
        if several and number and max(map(len, (*rows[number - 1], *row))) > 1 and not columns[-1].left:
            lines.append("")
        lines += _beside(row, columns, widths)
    return lines


def _cell(texts: Sequence[str], width: int) -> list[str]:
    return [line for text in texts for line in wrapped(text, width)]


def _beside(
    cells: Sequence[Sequence[str]], columns: Sequence[_Column], widths: Sequence[int], *, bottom: bool = False
) -> list[str]:
    """Cells of several lines beside each other; with ``bottom`` their last lines stand beside each other."""
    height = max(map(len, cells))
    lines = []
    for number in range(height):
        parts = []
        for cell, column, width in zip(cells, columns, widths, strict=True):
            at = number - (height - len(cell)) if bottom else number
            text = cell[at] if 0 <= at < len(cell) else ""
            space = " " * max(0, width - cell_len(text))
            parts.append(text + space if column.left else space + text)
        lines.append((" " * _GAP).join(parts).rstrip())
    return lines


def _blocks(columns: Sequence[_Column], width: int) -> list[str]:
    """Each row as lines of their own: its first cell, and below it the others, each with its name."""
    first, *rest = columns
    lines: list[str] = []
    for i, title in enumerate(first.cells):
        lines += [*[""] * bool(i), *_cell(title, width)]
        for column in rest:
            if any(column.cells[i]):
                text = " ".join(column.cells[i])
                lines += [f"  {line}" for line in wrapped(f"{column.name}: {text}", width - 2)]
    return lines


def wrapped(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width``, broken at spaces alone; a longer word has a line of its own."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]
