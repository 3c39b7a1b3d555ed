"""Short texts made from others, and texts of strangers made fit for the place where they are shown."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "first_line",
    "first_sentence",
    "in_a_cell",
    "in_markdown",
    "last_line",
    "listed",
    "printable",
    "slug",
    "unicode_all",
    "unicode_only",
]

_FORMULA = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also full-width
# What makes markup, a link, an entity or another cell in Markdown; emphasis does no harm and stays.
_MARKUP = re.compile(
    r"[<>|`\\]|!(?=\[)|\](?=[(\[:])|&(?=#?\w)|://|\bwww\.|\b(?:mailto|javascript|data):", re.IGNORECASE
)
_ENTITY = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def first_line(error: BaseException, *, with_type: bool = False) -> str:
    """The first line of what ``error`` says; the name of its class where it says nothing.

    Args:
        error: any exception. Those of PyTorch run over many lines, of which the first names the cause.
        with_type: put the name of the class in front, for errors of a user's own code.
    """
    kind = type(error).__name__
    said = str(error).strip()
    if not said:
        return kind
    line = said.split("\n")[0]
    return f"{kind}: {line}" if with_type else line


def last_line(error: BaseException) -> str:
    """The last line of what ``error`` says, where errors of other processes name the cause."""
    return (str(error).strip() or type(error).__name__).split("\n")[-1]


def first_sentence(text: str) -> str:
    """The first sentence or clause of ``text``, without the full stop or semicolon at its end."""
    for end in re.finditer(r"(?<=[a-z0-9)])[.;] ", text):
        first = text[: end.start()]
        if first.count("(") == first.count(")") and not first.endswith("et al"):
            return first
    return text.rstrip(".")


def printable(text: str) -> str:
    """``text`` on one line of a terminal: what moves the cursor, changes colours, turns the direction of
    writing, ends a line or cannot be seen is written as an escape, such as ``\\x1b`` or ``\\u202e``.

    These are all characters of the categories control, format, surrogate, private, unassigned, and
    separators other than the space. Halves of surrogates stand for bytes of a file name that is not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def unicode_only(text: str) -> str:
    """``text`` with halves of surrogates, which no UTF-8 can hold, as escapes: ``\\xff`` for the byte of a
    file name.
    """
    return re.sub(r"[\ud800-\udfff]", lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    return short or (
        f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"
    )


def in_a_cell(text: str) -> str:
    """``text`` as a cell of a table of commas: a spreadsheet shows it and does not calculate it, and a line
    ends at line feeds alone.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(_FORMULA) else text


def in_markdown(text: str) -> str:
    """``text`` in one line or one cell of Markdown: no link, picture, entity, HTML or further cell comes of
    it.
    """

    def shown(found: re.Match[str]) -> str:
        said = found[0]
        if len(said) > 1:  # an address: its colon or dot as an entity is shown, and makes no link
            return said.replace(":", "&#58;").replace(".", "&#46;")
        return _ENTITY.get(said) or f"\\{said}"

    return _MARKUP.sub(shown, printable(text))


def unicode_all(value: Any, *, finite: bool = False) -> Any:
    """Plain values with :func:`unicode_only` of every text in them; what is no plain value as its text.

    Args:
        value: numbers, texts, lists and mappings.
        finite: None in place of NaN and infinity, which strict JSON cannot hold.
    """
    if isinstance(value, str):
        return unicode_only(value)
    if isinstance(value, float):
        return value if math.isfinite(value) or not finite else None
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {unicode_only(str(key)): unicode_all(each, finite=finite) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [unicode_all(each, finite=finite) for each in value]
    return unicode_only(str(value))


def slug(name: str) -> str:
    """``name`` as part of a file name: whatever is neither letter nor digit becomes a hyphen."""
    return "".join(character if character.isalnum() else "-" for character in name)


def listed(numbers: Iterable[int], noun: str) -> str:
    """1, 2, 3, 7 as "layers 1–3, 7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    several = len(runs) > 1 or runs[0][0] != runs[0][1]
    ending = {"layer": "s", "class": "es"}[noun] if several else ""
    return f"{noun}{ending} " + ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in runs)
