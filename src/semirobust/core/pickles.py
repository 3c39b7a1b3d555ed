"""What a pickle costs, counted before anything reads it."""

import pickletools
from collections.abc import Callable

from semirobust.core.budget import BUDGET, most_instructions
from semirobust.core.errors import InputError

__all__ = ["check_pickles"]

Buffer = bytes | memoryview
_REFUSED = (
    "expected a state dict, got a pickle with names of absurd length or more instructions than any checkpoint"
    " has; nothing was run"
)
# The kinds of argument: of a fixed size, behind its own length, or up to the end of the line.
_STOP = 1 << 20
_LENGTHS = {
    "string1": 1, "bytes1": 1, "unicodestring1": 1, "long1": 1,
    "string4": 4, "bytes4": 4, "unicodestring4": 4, "long4": 4,
    "bytes8": 8, "unicodestring8": 8, "bytearray8": 8,
}  # fmt: skip


def _plan() -> tuple[tuple[int, ...], dict[int, tuple[str, int]]]:
    """For each byte the size of its fixed argument, or a mark (-1) that it is in the second: its name, and
    how many bytes give its length (0: a line, -1: two lines).
    """
    fixed, others = [-2] * 256, dict[int, tuple[str, int]]()
    for operation in pickletools.opcodes:
        code, argument = ord(operation.code), operation.arg
        if argument is None:
            fixed[code] = 0
        elif argument.n >= 0 and operation.name != "LONG_BINPUT":
            fixed[code] = argument.n
        else:
            fixed[code] = -1
            lines = -1 if argument.name == "stringnl_noescape_pair" else 0
            others[code] = operation.name, _LENGTHS.get(argument.name, lines)
    fixed[ord(".")] = _STOP
    return tuple(fixed), others


_FIXED, _OTHERS = _plan()


def check_pickles(data: Buffer, size: int, *, pickles: int = 1) -> None:
    """Refuse pickles that would keep their reader busy.

    What is counted are instructions, the lengths of names, texts and numbers, and places in the memo; a
    pickle that ends early or is none is left for its reader to refuse.

    Args:
        data: one or more pickles, one after the other, and maybe something else behind them.
        size: bytes of the file that they are in.
        pickles: how many of them are read.

    Raises:
        InputError: there is more of something than in any checkpoint.
    """
    most = most_instructions(size)
    at, find = 0, data.find if isinstance(data, bytes) else _finder(data)
    for _ in range(pickles):
        at, most = _check(data, at, most, find)
        if at < 0:
            return


def _finder(data: memoryview) -> Callable[[bytes, int], int]:
    """The place of a byte in a view, without a copy of it all."""

    def find(byte: bytes, start: int) -> int:
        while start < len(data):
            found = bytes(data[start : start + 4096]).find(byte)
            if found >= 0:
                return start + found
            start += 4096
        return -1

    return find


def _check(data: Buffer, at: int, most: int, find: Callable[[bytes, int], int]) -> tuple[int, int]:
    """The end of the pickle that begins there, -1 where it has none, and how many instructions are left."""
    end, start = len(data), at
    while at < end:
        if most == 0:
            raise InputError(_REFUSED)
        most -= 1
        code = data[at]
        step = _FIXED[code]
        if 0 <= step < _STOP:
            at += 1 + step
            continue
        if step == _STOP:
            return at + 1, most
        if step == -2:
            return -1, most
        name, length = _OTHERS[code]
        at = _argument(data, at + 1, name, length, find, start)
        if at < 0:
            return -1, most
    return -1, most


def _argument(
    data: Buffer, at: int, name: str, length: int, find: Callable[[bytes, int], int], start: int
) -> int:
    """Where the argument of an instruction ends; -1 where it does not."""
    if name == "LONG_BINPUT":
        if int.from_bytes(data[at : at + 4], "little") > at - start:  # each place needs an instruction
            raise InputError(_REFUSED)
        return at + 4
    if length > 0:
        size = int.from_bytes(data[at : at + length], "little")
        at += length + size
        if at > len(data):
            return -1
    else:
        size, begin = 0, at
        for _ in range(2 if length < 0 else 1):
            found = find(b"\n", at)
            if found < 0:
                return -1
            size, at = max(size, found - at), found + 1
        if name == "PUT" and (size > 12 or not _at_most(bytes(data[begin : at - 1]), at - start)):
            raise InputError(_REFUSED)
    if size > _MOST.get(name, size):
        raise InputError(_REFUSED)
    return at


def _at_most(text: bytes, most: int) -> bool:
    return not text.strip().isdigit() or int(text) <= most


_MOST = {
    **dict.fromkeys(("GLOBAL", "INST"), BUDGET.pickle_name),
    **dict.fromkeys(("INT", "LONG", "FLOAT", "GET", "PUT", "LONG1", "LONG4"), BUDGET.digits),
}
