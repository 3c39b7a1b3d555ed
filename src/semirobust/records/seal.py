"""The seal at the end of each line of records, by which a change after they were written is noticed.

``"seal":"17/230 5f2a9c01d3e4"`` says that this is line 17 of 230 and what it said. It is no signature.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from semirobust.core.budget import BUDGET, parse_json

__all__ = ["Inspection", "sealed", "split_seal"]

_NAME = "seal"
_END = re.compile(r',"seal":"(\d{1,9}/\d{1,9} [0-9a-f]{12})"\}$')
_SEAL = re.compile(r"(\d{1,9})/(\d{1,9}) ([0-9a-f]{12})")


def sealed(lines: Sequence[str]) -> list[str]:
    """Lines of JSON objects with their seals."""
    found = []
    for number, line in enumerate(lines, 1):
        place = f"{number}/{len(lines)}"
        found.append(f'{line[:-1]},"{_NAME}":"{place} {_digest(place, line)}"}}')
    return found


def split_seal(line: str) -> tuple[str, str]:
    """The line as it was before it was sealed, and its seal; empty where it has none."""
    if (end := _END.search(line)) is not None:
        return f"{line[: end.start()]}}}", end[1]
    if f'"{_NAME}"' not in line:
        return line, ""
    # Written anew by another program, with spaces or another order.
    content = parse_json(line, longest=BUDGET.record)
    if not isinstance(content, dict) or not isinstance(content.get(_NAME), str):
        return line, ""
    seal = content.pop(_NAME)
    return json.dumps(content), seal


def _digest(place: str, line: str) -> str:
    """Of what a line says: spaces and the order of its entries do not count."""
    content = json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{place} {content}".encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass
class Inspection:
    """What the seals of a file say. Several files one after the other are each looked at in turn.

    Attributes:
        changed: how many lines say something else than when they were written.
        missing: how many that were written are not there, or not in their place.
        unsealed: how many have no seal; where all are so, nothing is known.
        whole: how many are as they were.
    """

    changed: int = 0
    missing: int = 0
    unsealed: int = 0
    whole: int = 0
    _last: int = 0
    _count: int = 0  # of the lines of this file; 0 while that is not known

    def look(self, line: str, seal: str) -> None:
        """Look at the next line, as it was before it was sealed."""
        if not seal:
            self.unsealed += 1
            return
        found = _SEAL.fullmatch(seal)
        if found is None or found[3] != _digest(f"{found[1]}/{found[2]}", line):
            self.changed, self._last = self.changed + 1, self._last + 1
            return
        self.whole += 1
        number, count = int(found[1]), int(found[2])
        if number <= self._last or self._count not in (0, count):  # the first line of another file
            self.missing += self._left
            self._last = 0
        self.missing += number - self._last - 1
        self._last, self._count = number, count

    @property
    def _left(self) -> int:
        return max(self._count - self._last, 0)

    def said(self, name: str) -> str:
        """A sentence where something is not as it was written; empty otherwise."""
        if not self.whole and not self.changed:
            return ""
        counts = {
            "changed after being written": self.changed,
            "taken out, moved, or lost with the end of the file": self.missing + self._left,
            "added": self.unsealed,
        }
        parts = [
            f"{count:,} {'record was' if count == 1 else 'records were'} {what}"
            for what, count in counts.items()
            if count
        ]
        return f"{name}: {', '.join(parts)}" if parts else ""
