"""How the site reads docstrings: ``x, y: meaning`` is two entries, ``:class:`~a.B` `` is ``B``."""

import re
from typing import Any

from griffe import Extension, Object

__all__ = ["Entries", "separated"]

_SHARED = re.compile(r"^( {4})([a-z_]\w*(?:, [a-z_]\w*)+): (.*(?:\n {5,}.*)*)", re.M)
_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")


def separated(text: str) -> str:
    """The docstring with an entry for each name."""

    def each(found: re.Match[str]) -> str:
        return "\n".join(f"{found[1]}{name}: {found[3]}" for name in found[2].split(", "))

    return _ROLE.sub(r"`\1`", _SHARED.sub(each, text))


class Entries(Extension):
    """Separates the entries of every docstring."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = separated(obj.docstring.value)
