"""The matrix as Markdown."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from stress.matrix.functions import FUNCTIONS

__all__ = ["STATES", "cells_of", "counts", "markdown"]

STATES = ("ok", "refused", "wrong", "crash")
Cells = Mapping[str, Mapping[str, Mapping[str, str]]]


def cells_of(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Network -> function -> its cell."""
    found = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    return {entry["network"]: entry["cells"] for entry in found}


def counts(cells: Cells) -> dict[str, Counter[str]]:
    """Function -> how many networks in each state."""
    return {f: Counter(row[f]["state"] for row in cells.values() if f in row) for f in FUNCTIONS}


def markdown(cells: Cells, *, details: bool = True) -> str:
    """The table; with ``details`` also what is wrong, and the refusals by sentence."""
    lines = [f"{len(cells)} networks.", ""]
    lines += ["| function | " + " | ".join(STATES) + " | ok |", "|---" * (len(STATES) + 2) + "|"]
    for function, count in counts(cells).items():
        total = sum(count[state] for state in STATES)
        if total:
            numbers = " | ".join(str(count[state] or "") for state in STATES)
            lines.append(f"| {function} | {numbers} | {count['ok'] / total:.0%} |")
    if not details:
        return "\n".join(lines) + "\n"
    for state in ("wrong", "crash", "harness"):
        rows = _rows(cells, state)
        lines += ["", f"## {state}: {len(rows)}", ""]
        lines += [f"- {network}, {function}: {text}" for network, function, text in rows]
    lines += ["", "## refused, by sentence", ""]
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for network, function, text in _rows(cells, "refused"):
        grouped[_kind(text), function].append(network)
    for (text, function), networks in sorted(grouped.items(), key=lambda item: -len(item[1])):
        names = ", ".join(networks[:4]) + (", …" if len(networks) > 4 else "")
        lines.append(f"- {len(networks)} × {function}: {text} ({names})")
    return "\n".join(lines) + "\n"


def _rows(cells: Cells, state: str) -> list[tuple[str, str, str]]:
    return [
        (network, function, cell.get("text", ""))
        for network, row in cells.items()
        for function, cell in row.items()
        if cell["state"] == state
    ]


def _kind(text: str) -> str:
    """The sentence without what differs from network to network."""
    words = ["#" if any(c.isdigit() for c in word) else word for word in text.split()]
    return " ".join(words)[:220]
