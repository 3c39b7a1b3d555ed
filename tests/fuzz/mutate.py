"""Bytes made wrong in the ways that files go wrong, and in those that somebody makes them."""

import random

__all__ = ["mutated"]

_WORDS = (
    b"\x00",
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"-1",
    b"0",
    b"1e309",
    b"NaN",
    b"-Infinity",
    b"null",
    b"true",
    b'""',
    b"{}",
    b"[]",
    b"9" * 30,
    b"../../x",
    b"%s%n",
    b"\n",
    b"\r\n",
    b"'",
    b'"',
    b"<script>alert(1)</script>",
    b"{{7*7}}",
    "ü\u202e".encode(),
    b"__import__",
)


def mutated(content: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """One to six changes, one after the other."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        data = _changed(data, chance, others)
    return bytes(data)


def _changed(data: bytearray, chance: random.Random, others: list[bytes]) -> bytearray:
    here = chance.randrange(len(data) + 1)
    size = min(len(data) - here, chance.choice((1, 2, 4, 8, 64, 1024)))
    kind = chance.randrange(11)
    if kind == 0:  # cut off
        return data[:here]
    if kind == 1 and data:  # one bit
        data[here % len(data)] ^= 1 << chance.randrange(8)
    elif kind == 2:  # random bytes over what was there
        data[here : here + size] = chance.randbytes(size)
    elif kind == 3:  # a piece gone
        del data[here : here + size]
    elif kind == 4:  # a piece twice
        data[here:here] = data[here : here + size]
    elif kind == 5:  # zeros
        data[here : here + size] = bytes(size)
    elif kind == 6:  # a telling word, in between or over what was there
        word = chance.choice(_WORDS)
        data[here : here + chance.choice((0, len(word)))] = word
    elif kind == 7:  # the end of another one
        other = chance.choice(others)
        return data[:here] + bytearray(other[chance.randrange(len(other) + 1) :])
    elif kind == 8:  # a number where there was one
        digits = [i for i, byte in enumerate(data[:4096]) if 48 <= byte <= 57]
        if digits:
            at = chance.choice(digits)
            data[at : at + 1] = chance.choice((b"-", b"99999999999999999999", b"1e99", b"."))
    elif kind == 9:  # deep nesting
        data[here:here] = chance.choice((b"[", b"{", b'{"a":', b"(")) * chance.choice((3, 200, 5000))
    else:  # two pieces change places
        other = chance.randrange(len(data) + 1)
        data[here : here + size], data[other : other + size] = (
            data[other : other + size],
            data[here : here + size],
        )
    return data
