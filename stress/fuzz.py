"""Wrong files for every reader: ``python -m stress.fuzz [COUNT] [SEED]``; new cases go to
``tests/fuzz/corpus`` (Linux).
"""

import hashlib
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.arguments import attempt_arguments, command_line, small_run
from tests.fuzz.fuzzer import fuzz
from tests.fuzz.readers import READERS

__all__ = ["main"]

_CORPUS = Path(__file__).parents[1] / "tests/fuzz/corpus"


def main() -> None:
    """A line for each reader: files read, what was found."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    found = 0
    with tempfile.TemporaryDirectory() as place:
        for name in READERS:
            began, cases = time.monotonic(), list(fuzz(name, count, seed, Path(place)))
            kinds = {case.what.rpartition("File ")[2]: case for case in cases}
            print(
                f"{name:16} {count} files, {time.monotonic() - began:5.1f} s, {len(cases)} cases of"
                f" {len(kinds)} kinds",
                flush=True,
            )
            for case in kinds.values():
                digest = hashlib.sha256(case.content).hexdigest()[:8]
                (_CORPUS / f"{name.replace(' ', '_')}-{digest}").write_bytes(case.content)
                print(f"  {digest}: {case.what}")
            found += len(cases)
        lines, wrong = 2 * count, _arguments(2 * count, seed, Path(place))
    print(f"{count * len(READERS)} wrong files, {found} cases; {lines} command lines, {wrong} cases")
    sys.exit(1 if found or wrong else 0)


def _arguments(count: int, seed: int, place: Path) -> int:
    """Command lines that nobody means; how many did not end as they should."""
    folder, chance, wrong = place / "lines", random.Random(f"arguments/{seed}"), 0
    folder.mkdir()
    small_run(folder)
    began = time.monotonic()
    for _ in range(count):
        line = command_line(chance)
        what = attempt_arguments(folder, line)
        if what:
            wrong += 1
            print(f"  {line}: {what}", flush=True)
    print(f"{'command lines':16} {count} lines, {time.monotonic() - began:5.1f} s, {wrong} cases", flush=True)
    return wrong


if __name__ == "__main__":
    main()
