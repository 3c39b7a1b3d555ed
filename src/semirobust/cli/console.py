"""Bars, tables and errors on a terminal."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from semirobust.core.rank import is_first_process
from semirobust.core.text import printable, unicode_all

__all__ = ["bars", "print_json", "show_table", "speak_alone", "tell", "tell_notes"]

_SPEAKS = is_first_process()  # the others of a run would print the same again

# A terminal that says it has no columns would get no word.
_WIDTH = 80 if os.environ.get("COLUMNS") == "0" else None
_errors = Console(stderr=True, width=_WIDTH)
_output = Console(quiet=not _SPEAKS, width=_WIDTH)


def speak_alone() -> None:
    """Print, whatever rank the environment gives this process: its run has no other."""
    global _SPEAKS
    _SPEAKS, _output.quiet = True, False


@contextmanager
def bars(*, quiet: bool = False) -> Iterator[Any]:
    """A progress callback that draws one bar for each task, with the time left, on standard error."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=_errors, disable=quiet or not _SPEAKS, transient=not _errors.is_terminal
    ) as display:
        tasks: dict[str, TaskID] = {}

        def update(task: str, done: int, total: int) -> None:
            if task not in tasks or (display.tasks[tasks[task]].finished and done < total):
                tasks[task] = display.add_task(printable(task), total=total)
            display.update(tasks[task], completed=done, total=total)

        yield update


def show_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str | Sequence[str]]], *, left: bool = False
) -> None:
    """A table on standard output; numbers stand at the right, and words, with ``left``, at the left.

    A cell is a text, or several for one below the other. Texts are shown as they are: no markup is read.
    """
    table = Table(title=_shown(title), title_justify="left")
    for position, name in enumerate(header):
        side: Literal["left", "right"] = "left" if left or position == 0 else "right"
        table.add_column(_shown(name), justify=side, overflow="fold", no_wrap=left and position == 0)
    for row in rows:
        table.add_row(*map(_shown, row))
    _output.print(table)


def _shown(cell: str | Sequence[str]) -> Text:
    return Text("\n".join(map(printable, [cell] if isinstance(cell, str) else cell)))


def tell(text: str) -> None:
    """A line on standard output."""
    _output.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def tell_notes(notes: Sequence[str], *, as_json: bool) -> None:
    """What a reader of the results should know of their model; JSON and records have it among their notes."""
    for note in () if as_json else notes:
        tell(f"Note: {note}.")


def tell_nothing_kept() -> None:
    """A line on standard error where a command without ``--out`` leaves no records."""
    _errors.print(
        "Nothing is kept: --out FOLDER keeps the records, and goes on after an interruption.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def print_json(content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Strict JSON in ASCII on standard output: null for what is not finite, escapes for what is no text."""
    if _SPEAKS:
        text = json.dumps(unicode_all(content, finite=True), indent=1, allow_nan=False)
        sys.stdout.write(f"{text}\n")
