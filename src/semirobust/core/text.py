"""Short texts made from others: the first line of an error, a name that suits a file, a list of numbers."""

from collections.abc import Iterable

__all__ = ["first_line", "listed", "slug"]


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
    line = said.splitlines()[0]
    return f"{kind}: {line}" if with_type else line


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
