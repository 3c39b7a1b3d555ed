"""What a docstring says of each field of a class, and its annotations."""

import functools
import importlib
import inspect
import re
import typing
from typing import Any

from semirobust.core.errors import InputError

__all__ = ["annotations_of", "meanings"]


@functools.cache
def meanings(cls: type) -> dict[str, str]:
    """What the docstring of a class, or of those it is made from, says of each field."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is not object and base.__doc__:
            found |= _entries(inspect.cleandoc(base.__doc__))
    return found


def _entries(text: str) -> dict[str, str]:
    """The entries ``name: meaning`` and ``name, name: meaning`` below ``Args:`` and ``Attributes:``."""
    found: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line in text.splitlines():
        if re.fullmatch(r"\w+:", line):
            inside, names = line in ("Args:", "Attributes:"), []
            continue
        if not inside:
            continue
        start = re.match(r" {4}([a-z_]\w*(?:, [a-z_]\w*)*): +(.*)", line)
        if start:
            names = start.group(1).split(", ")
            found |= dict.fromkeys(names, start.group(2))
        elif line.startswith("     "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return {name: _followed(name, entry) for name, entry in found.items()}


def _followed(name: str, text: str) -> str:
    """The entry; where it only says "as in" another class, which it names in full, what that one says."""
    other = re.match(r"as in :class:`~?([\w.]+)\.(\w+)`", text)
    if other is None:
        return _readable(text)
    cls = getattr(importlib.import_module(other.group(1)), other.group(2))
    return meanings(cls).get(name) or _readable(text)


def _readable(text: str) -> str:
    """Without the marks of reStructuredText."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"\1", text)
    return " ".join(text.replace("``", "").split())


def annotations_of(cls: type) -> dict[str, Any]:
    """The annotation of each field of a class, resolved.

    Raises:
        InputError: one has a name that is not there, such as one imported for type checkers alone.
    """
    try:
        return typing.get_type_hints(cls)
    except NameError as error:
        raise InputError(
            f"{cls.__qualname__}: expected annotations whose names exist when it runs; {error}"
        ) from None
