"""A table of plain values: what a result shows of itself in a terminal, a notebook, pandas or a file."""

import csv
import html
import io
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from semirobust.core.interval import ends
from semirobust.core.text import in_a_cell, printable

__all__ = ["Cell", "Kind", "Table", "plain_cell"]

Cell = str | int | float | bool | None
Kind = Literal["text", "count", "number", "share", "flag"]
"""What a column holds: words; whole numbers; numbers; fractions from 0 to 1, shown in per cent; yes or no."""
KINDS: tuple[Kind, ...] = get_args(Kind)

_SHOWN_ROWS = 40  # in a terminal or a notebook; frames and files have all
_COLUMNS = 100  # of a terminal that does not say its width
_NONE = "–"
_LARGE, _HUGE = 1e4, 1e15  # between these a number has no exponent
_INTERVAL = "95 % interval"


def plain_cell(value: Any) -> Cell:
    """A value of NumPy, PyTorch or Python as one of a table; None for NaN, which is no number."""
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if hasattr(value, "item") and not isinstance(value, int | float):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    return str(value)


@dataclass(frozen=True)
class Table:
    """Rows of plain values under named columns.

    Columns that are called ``low`` and ``high``, alone or behind the same word (``robust_low``), are the ends
    of a 95 % interval and shown as one.

    Attributes:
        said: one short sentence with what counts most, without a full stop.
        columns: name -> what it holds.
        rows: a value for each column; None where there is none.
        facts: what holds for all rows, by name.
        notes: sentences that a reader must know, without a full stop.
    """

    said: str
    columns: Mapping[str, Kind]
    rows: Sequence[Sequence[Cell]]
    facts: Mapping[str, Cell] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        rows = tuple(tuple(map(plain_cell, row)) for row in self.rows)
        for row in rows:
            if len(row) != len(self.columns):
                raise RuntimeError(f"a row of {len(row)} values under {len(self.columns)} columns")
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "facts", {key: plain_cell(value) for key, value in self.facts.items()})
        object.__setattr__(self, "notes", tuple(self.notes))

    def column(self, name: str) -> list[Any]:
        """The values of one column."""
        at = list(self.columns).index(name)
        return [row[at] for row in self.rows]

    def percent(self, name: str) -> list[float | None]:
        """A column of fractions, in per cent."""
        return [None if value is None else 100 * value for value in self.column(name)]

    def numbers(self, name: str) -> list[float]:
        """A column of numbers, NaN where there is none."""
        return [math.nan if value is None else float(value) for value in self.column(name)]

    def dicts(self) -> list[dict[str, Any]]:
        """The rows as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def text(self) -> str:
        """For a terminal: the sentence, the rows under their columns, the notes.

        Columns for which a line has no room stand below, behind the first one again.
        """
        heads, numeric, rows = self._shown()
        lines = [] if not self.said else [printable(self.said)]
        if rows:
            cells = [heads, *rows]
            widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
            blocks = _blocks(widths, shutil.get_terminal_size((_COLUMNS, 24)).columns)
            for number, block in enumerate(blocks):
                lines += [""] if number else []
                for row in cells:
                    padded = (
                        row[at].rjust(widths[at]) if numeric[at] else row[at].ljust(widths[at])
                        for at in block
                    )
                    lines.append("  ".join(padded).rstrip())
        lines += [self._left_out()] if self._left_out() else []
        return "\n".join([*lines, *(f"Note: {printable(note)}." for note in self.notes)])

    def html(self, name: str) -> str:
        """For a notebook: a table with a caption and scopes, no script, every text escaped.

        Args:
            name: what the result is called.
        """
        heads, numeric, rows = self._shown()
        right, left = 'style="text-align:right"', 'style="text-align:left"'
        style = [right if each else left for each in numeric]
        head = "".join(f'<th scope="col" {s}>{_safe(h)}</th>' for h, s in zip(heads, style, strict=True))
        body = ""
        for row in rows:
            first, *rest = zip(row, style, strict=True)
            cells = "".join(f"<td {s}>{_safe(text)}</td>" for text, s in rest)
            body += f'<tr><th scope="row" {first[1]}>{_safe(first[0])}</th>{cells}</tr>\n'
        caption = (
            '<caption style="caption-side:top;text-align:left">'
            f"<strong>{_safe(name)}</strong>{': ' * bool(self.said)}{_safe(self.said)}</caption>"
        )
        below = [
            *([self._left_out()] if self._left_out() else []),
            *(f"{note}." for note in self.notes),
        ]
        notes = "".join(f"<li>{_safe(note)}</li>" for note in below)
        return (
            f"<div>\n<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"
            f"{'<ul>' + notes + '</ul>' if notes else ''}</div>"
        )

    def csv(self) -> str:
        """The rows with a header; a text that a spreadsheet would calculate gets an apostrophe in front."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([in_a_cell(name) for name in self.columns])
        for row in self.rows:
            writer.writerow([in_a_cell(cell) if isinstance(cell, str) else cell for cell in row])
        return text.getvalue()

    def _shown(self) -> tuple[list[str], list[bool], list[list[str]]]:
        """Heads, which columns stand to the right, and rows as text; the ends of an interval are one."""
        heads, numeric, makers = list[str](), list[bool](), list[tuple[int, int | None, Kind]]()
        names = list(self.columns)
        for at, (name, kind) in enumerate(self.columns.items()):
            word = name.removesuffix("low")
            if name.endswith("low") and f"{word}high" in names:
                heads.append(f"{word.replace('_', ' ')}{_INTERVAL}")
                numeric.append(True)
                makers.append((at, names.index(f"{word}high"), kind))
            elif not (name.endswith("high") and f"{name.removesuffix('high')}low" in names):
                heads.append(name.replace("_", " "))
                numeric.append(kind in ("count", "number", "share"))
                makers.append((at, None, kind))
        rows = [
            [
                shown_cell(row[at], kind) if high is None else _interval(row[at], row[high], kind)
                for at, high, kind in makers
            ]
            for row in self.rows[:_SHOWN_ROWS]
        ]
        return heads, numeric, rows

    def _left_out(self) -> str:
        left = len(self.rows) - _SHOWN_ROWS
        return f"{left} more rows: to_frame() and save() have all" if left > 0 else ""

    def __iter__(self) -> Iterator[Sequence[Cell]]:
        return iter(self.rows)


def _blocks(widths: Sequence[int], width: int) -> list[list[int]]:
    """Which columns stand beside each other on lines of so many characters; the first is in each block."""
    blocks, used = [[0]], widths[0]
    for at in range(1, len(widths)):
        if used + 2 + widths[at] > width and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0]
        blocks[-1].append(at)
        used += 2 + widths[at]
    return blocks


def shown_cell(value: Cell, kind: Kind) -> str:
    """A value as it is read; a dash where there is none."""
    if value is None:
        return _NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return printable(value)
    if kind == "share":
        return f"{value:.1%}"
    if isinstance(value, int) or (_LARGE <= abs(value) < _HUGE):
        return f"{value:,.0f}" if isinstance(value, float) else f"{value:,}"
    return f"{value:.4g}"


def _interval(low: Cell, high: Cell, kind: Kind) -> str:
    if not (isinstance(low, int | float) and isinstance(high, int | float)):
        return _NONE
    if kind == "share" and math.isfinite(low) and math.isfinite(high):
        first, last = ends(low, high)
        return f"{first} to {last} %"
    return f"{low:.4g} to {high:.4g}"


def _safe(text: str) -> str:
    return html.escape(printable(text), quote=True)
