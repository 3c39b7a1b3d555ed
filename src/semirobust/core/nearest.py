"""What somebody meant who mistyped a name."""

import difflib
import re
from collections.abc import Iterable

__all__ = ["meant"]

_CLOSE = (
    0.6  # of the letters in order, as difflib counts them; two that are exchanged in a name of three pass
)
_LONGEST = 100  # characters: a longer name is no typo
_MOST = 2000  # names that are compared


def meant(got: object, names: Iterable[str]) -> str:
    """``; did you mean 'pgd-20'?`` where one of the names is close to what was typed; else nothing.

    The numbers at the end of a name, as in ``pgd-20x2``, stay as they were typed.
    """
    text = str(got)
    known = {name.lower(): name for _, name in zip(range(_MOST), names, strict=False)}
    if len(text) > _LONGEST or text.lower() in known:
        return ""
    number = re.search(r"[-_]\d+(?:x\d+)?$", text)
    tail = number[0] if number else ""
    for typed, rest in ((text, ""), (text.removesuffix(tail), tail))[: 1 + bool(tail)]:
        near = difflib.get_close_matches(typed.lower(), known, n=1, cutoff=_CLOSE)
        if near:
            return f"; did you mean {known[near[0]] + rest!r}?"
        if rest and typed.lower() in known:
            return ""
    return ""
