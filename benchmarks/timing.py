"""Honest timings on a noisy machine: in turn, several times, compared by ratio."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Seconds of two ways to do the same, pair by pair.

    Attributes:
        what: what was timed.
        other: the name of the other way.
        ours, theirs: seconds of each counted run.
    """

    what: str
    other: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    def __str__(self) -> str:
        ratios = sorted(b / a for a, b in zip(self.ours, self.theirs, strict=True))
        return (
            f"{self.what:<34} {statistics.median(self.ours):8.3f} s   {self.other}"
            f" {statistics.median(self.theirs):8.3f} s   {statistics.median(ratios):5.2f} times as fast"
            f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def compare(
    what: str, ours: Callable[[], object], other: str, theirs: Callable[[], object], *, runs: int = 5
) -> Comparison:
    """Time both in turn, ``runs`` times after one warm-up each."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(runs + 1):
        for kept, work in zip(times, (ours, theirs), strict=True):
            started = time.perf_counter()
            work()
            if run:
                kept.append(time.perf_counter() - started)
    return Comparison(what, other, tuple(times[0]), tuple(times[1]))
