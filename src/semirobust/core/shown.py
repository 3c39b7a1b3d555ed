"""Results that show themselves: in a terminal, a notebook, as a figure, a data frame and a file."""

import json
import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semirobust.core.errors import InputError
from semirobust.core.ours import write_out
from semirobust.core.table import KINDS, Cell, Table
from semirobust.core.text import printable, unicode_all

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["RESULTS", "AbstractResult", "read_result"]

RESULTS: "dict[str, type[AbstractResult]]" = {}
"""Name of a kind of result -> its class, of all that are imported."""

_MARK = "semirobust result"
_VERSION = 1


class AbstractResult(ABC):
    """Something that was measured. A result says what it holds as a :class:`Table` of plain values; how that
    is printed, shown in a notebook, put into a data frame and saved is the same for all.

    A dataclass that is one is made with ``repr=False``.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        RESULTS[cls.__name__] = cls

    @abstractmethod
    def table(self) -> Table:
        """What it holds, in plain values: the columns and rows that it is printed, framed and saved by."""

    @staticmethod
    def drawn(table: Table) -> "Figure":
        """The chart of such a table, by :mod:`semirobust.figures`."""
        raise InputError("plot: expected a result that has a chart, got one of words; print it, or save it")

    @property
    def kind(self) -> str:
        """What kind of result it is: the name of its class."""
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{self.kind}: {printable(self.table().said)}>"

    def __str__(self) -> str:
        return self.table().text()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return self.table().html(self.kind)

    def plot(self) -> "Figure":
        """A chart of it, which shows itself in a notebook; ``plot().savefig("x.png")`` keeps it.

        Raises:
            InputError: it holds nothing to draw.
        """
        table = self.table()
        if not table.rows:
            raise InputError(f"plot: expected a result with rows, got an empty {self.kind}")
        return self.drawn(table)

    def to_frame(self) -> "pd.DataFrame":
        """A data frame with one row for each of :meth:`table`; ``frame.attrs`` holds what all rows share.

        Fractions are from 0 to 1, and NaN stands where there is no number.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError(
                "to_frame: expected pandas, found none; pip install 'semirobust[frames]'"
            ) from None
        table = self.table()
        frame = pd.DataFrame([list(row) for row in table.rows], columns=list(table.columns))
        for name, kind in table.columns.items():
            if kind in ("number", "share"):
                frame[name] = frame[name].astype("float64")
        frame.attrs = {"result": self.kind, **table.facts, "notes": list(table.notes)}
        return frame

    def save(self, path: str | Path) -> Path:
        """Write it to a file, by its suffix: ``.json`` (:func:`semirobust.load_result` reads it again) or
        ``.csv`` (a table for a spreadsheet; a text that it would calculate gets an apostrophe in front).

        Args:
            path: a new file, or one that a result of this kind was saved to.

        Returns:
            its place.

        Raises:
            InputError: another suffix, a file of something else, or a place that cannot be written to.
        """
        path, table = Path(path), self.table()
        match path.suffix.lower():
            case ".json":
                text = _json(self.kind, table)
            case ".csv":
                text = table.csv()
            case other:
                raise InputError(
                    f"save: expected a file that ends in .json or .csv, got {other or path.name!r}"
                )
        try:
            return write_out(path, text.encode("utf-8", "backslashreplace"), alike=True)
        except OSError as error:
            raise InputError(f"save: cannot write {path} ({error.strerror})") from None


def _json(kind: str, table: Table) -> str:
    """A table as JSON, its first line the mark of the kind."""
    parts = {
        "said": table.said,
        "columns": dict(table.columns),
        "facts": {key: _out(value) for key, value in table.facts.items()},
        "notes": list(table.notes),
        "rows": [[_out(cell) for cell in row] for row in table.rows],
    }
    head = f'{{"{_MARK}": {json.dumps(kind)}, "version": {_VERSION},\n'
    return head + json.dumps(unicode_all(parts), indent=1, allow_nan=False)[1:].lstrip() + "\n"


def _out(value: Cell) -> Cell:
    """Strict JSON holds no infinity."""
    return ("inf" if value > 0 else "-inf") if isinstance(value, float) and math.isinf(value) else value


def _in(value: Any) -> Cell:
    return {"inf": math.inf, "-inf": -math.inf}.get(value, value) if isinstance(value, str) else value


def read_result(content: Any) -> tuple[str, Table]:
    """The kind and the table in the content of a file that :meth:`AbstractResult.save` wrote.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(content, dict) or not isinstance(kind := content.get(_MARK), str):
        raise ValueError("expected a result that save wrote")
    if content.get("version") != _VERSION:
        raise ValueError(
            f"expected version {_VERSION}, got {content.get('version')!r}; install a later semirobust"
        )
    columns, rows, notes = content.get("columns"), content.get("rows"), content.get("notes")
    facts, said = content.get("facts"), content.get("said")
    if not (isinstance(columns, dict) and columns and all(kind in KINDS for kind in columns.values())):
        raise ValueError("expected columns and what they hold")
    if not (isinstance(rows, list) and isinstance(facts, dict) and isinstance(said, str)):
        raise ValueError("expected rows and facts")
    if not (isinstance(notes, list) and all(isinstance(note, str) for note in notes)):
        raise ValueError("expected notes")
    kinds = list(columns.values())
    for row in rows:
        if not isinstance(row, list) or len(row) != len(columns):
            raise ValueError("expected a value for each column in every row")
        if not all(_fits(_in(cell), kind) for cell, kind in zip(row, kinds, strict=True)):
            raise ValueError("expected values that fit their columns")
    if not all(value is None or isinstance(value, str | int | float) for value in facts.values()):
        raise ValueError("expected plain facts")
    read = [
        [cell if of == "text" else _in(cell) for cell, of in zip(row, kinds, strict=True)] for row in rows
    ]
    return kind, Table(said, columns, read, {key: _in(value) for key, value in facts.items()}, notes)


def _fits(cell: Any, kind: str) -> bool:
    if cell is None:
        return True
    if kind == "text":
        return isinstance(cell, str)
    if kind == "flag":
        return isinstance(cell, bool)
    return isinstance(cell, int | float) and not isinstance(cell, bool)
