"""Sentences, tables and JSON on a terminal."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from semirobust.cli.streams import results
from semirobust.cli.tables import laid_out, wrapped
from semirobust.core.rank import is_first_process
from semirobust.core.text import printable, unicode_all

__all__ = [
    "aside",
    "errors",
    "print_json",
    "print_text",
    "show_table",
    "speak_alone",
    "speaks",
    "tell",
    "tell_next",
    "tell_notes",
]

_SPEAKS = is_first_process()  # the others of a run would print the same again

# A terminal that says it has no columns would get no word.
_WIDTH = 80 if os.environ.get("COLUMNS") == "0" else None
errors = Console(stderr=True, width=_WIDTH)
"""Standard error, for what is no result."""
_output = Console(quiet=not _SPEAKS, width=_WIDTH)


def speak_alone() -> None:
    """Print, whatever rank the environment gives this process: its run has no other."""
    global _SPEAKS
    _SPEAKS, _output.quiet = True, False


def speaks() -> bool:
    """Whether this process prints, or another one of its run does."""
    return _SPEAKS


def show_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str | Sequence[str]]], *, left: bool = False
) -> None:
    """A table on standard output; numbers stand at the right, and words, with ``left``, at the left.

    A cell is a text, or several for one below the other. Texts are shown as they are: no markup is read.
    """
    width = _output.width
    for line in ("", *wrapped(printable(title), width)):
        _line(_output, line, style="bold" if line else None)
    for line in laid_out(header, rows, width, left=left):
        _line(_output, line)


def _line(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _sentence(console: Console, text: str, name: str = "") -> None:
    """A sentence, which on a terminal is broken between words; in a file it is one line, to be searched."""
    text, width = printable(text), console.width - len(name)
    for number, line in enumerate(wrapped(text, width) if fits_width(console) else [text]):
        _line(console, (" " * len(name) if number else name) + line)


def fits_width(console: Console) -> bool:
    """Whether lines are read at a certain width: on a terminal, or where COLUMNS says one."""
    return console.is_terminal or "COLUMNS" in os.environ


def tell(text: str) -> None:
    """A sentence on standard output."""
    _sentence(_output, text)


def tell_next(out: Path, *commands: str) -> None:
    """A line that says what was written, and which commands go on from there."""
    typed = shlex.quote(f"./{out}" if str(out).startswith("-") else str(out))
    first, *more = (f"`{command} {typed}`" for command in (f"semirobust {commands[0]}", *commands[1:]))
    tell(f"wrote {out}; go on with {', '.join([first, *more])}")


def aside(text: str, name: str = "") -> None:
    """A sentence on standard error, of what is no result; ``name`` stands in front of it."""
    if _SPEAKS:
        _sentence(errors, text, name)


def tell_notes(notes: Sequence[str], *, as_json: bool) -> None:
    """What a reader of the results should know of their model; JSON and records have it among their notes."""
    for note in () if as_json else notes:
        tell(f"Note: {note}.")


def print_text(text: str) -> None:
    """Text of several lines on standard output as it is, to be kept in a file."""
    if _SPEAKS:
        results().write(text)


def print_json(content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Strict JSON in ASCII on standard output: null for what is not finite, escapes for what is no text."""
    if _SPEAKS:
        text = json.dumps(unicode_all(content, finite=True), indent=1, allow_nan=False)
        results().write(f"{text}\n")
