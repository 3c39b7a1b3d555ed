"""Hostile files made by rule: each rule makes one kind of attack of any size.

A rule gets the folder of a reader with a good file in it, a size from 1 to the rule's largest, and chances, and
writes the hostile file in its place.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RULES", "Rule", "made", "rule"]

Make = Callable[[Path, int, random.Random], bytes | str | None]


@dataclass(frozen=True)
class Rule:
    """One kind of attack.

    Attributes:
        reader: the name of the reader in ``READERS``.
        make: the content of its file; None where the rule has written it.
        most: the largest size.
    """

    reader: str
    make: Make
    most: int


RULES: dict[str, Rule] = {}
"""Name -> rule."""


def rule(reader: str, most: int) -> Callable[[Make], Make]:
    """Register a rule under the name of its function."""

    def register(make: Make) -> Make:
        RULES[f"{reader}: {make.__name__.strip('_').replace('_', ' ')}"] = Rule(reader, make, most)
        return make

    return register


def made(name: str, folder: Path, file: str, size: int, chance: random.Random) -> None:
    """Write the file of a rule."""
    content = RULES[name].make(folder, size, chance)
    if content is not None:
        content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        (folder / file).write_bytes(content)
