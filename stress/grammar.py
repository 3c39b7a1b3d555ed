"""Hostile files made by rule, each read in a process of its own that is watched:
``python -m stress.grammar [COUNT] [SEED]`` (Linux).
"""

import collections
import random
import sys
import tempfile
import time
from pathlib import Path

import tests.fuzz.rules
from tests.fuzz.cost import Cost, measured
from tests.fuzz.grammar import RULES, made
from tests.fuzz.readers import READERS

__all__ = ["main", "tried"]

_RULES = tests.fuzz.rules.__all__  # whose import registers them


def tried(name: str, size: int, chance: random.Random, place: Path) -> Cost:
    """What one file of a rule costs its reader."""
    reader = READERS[RULES[name].reader]
    with tempfile.TemporaryDirectory(dir=place) as folder:
        reader.make(Path(folder))
        made(name, Path(folder), reader.name, size, chance)
        return measured(lambda: reader.read(Path(folder)), Path(folder))


def main() -> None:
    """A line for each rule: files read and refused, the most that one cost, what was wrong."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = sys.argv[2] if len(sys.argv) > 2 else "0"
    each, total, wrong = -(-count // len(RULES)), 0, 0
    with tempfile.TemporaryDirectory() as place:
        for name, rule in RULES.items():
            chance, began, costs = random.Random(f"{name}/{seed}"), time.monotonic(), list[Cost]()
            for number in range(each):
                # The largest first, then any size, small ones as often as large ones.
                size = rule.most if number == 0 else round(rule.most ** chance.random())
                costs.append(tried(name, size, chance, Path(place)))
                if costs[-1].wrong:
                    print(f"  WRONG {name}, file {number} of size {size}: {costs[-1].wrong}", flush=True)
            kinds = collections.Counter("refused" if cost.said else "read" for cost in costs)
            total, wrong = total + len(costs), wrong + sum(bool(cost.wrong) for cost in costs)
            print(
                f"{name:50} {dict(kinds)}, {max(c.seconds for c in costs):.1f} s,"
                f" {max(c.peak for c in costs) >> 20} MiB ({time.monotonic() - began:.0f} s)",
                flush=True,
            )
    print(f"{total} files by {len(RULES)} rules, {wrong} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
