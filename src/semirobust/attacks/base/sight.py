"""Whether a search saw where to go."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from semirobust.core.interval import upper_limit

__all__ = ["Sight", "Tally", "watched", "watching"]


@dataclass(frozen=True)
class Tally:
    """What came of work that a search left out, as it would have changed nothing.

    Attributes:
        considered: proposals, or runs.
        left_out: of these, not tried, or ended early.
        audited: done to the end although they would have been left out.
        missed: of these, what would have changed something: the errors.
        runs, ended, followed, reached: the same of the runs of a search whose proposals are counted above.
    """

    considered: int = 0
    left_out: int = 0
    audited: int = 0
    missed: int = 0
    runs: int = 0
    ended: int = 0
    followed: int = 0
    reached: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(self.counts, other.counts, strict=True)))

    @property
    def errors(self) -> str:
        """How many of the audited were missed, and what share of all left out that may be."""
        most = upper_limit(self.missed, self.audited)
        return f"{self.missed:,} of {self.audited:,} (at most {most:.2%} with 95 % confidence)"

    @property
    def of_runs(self) -> "Tally":
        """That of the runs alone, whose proposals are counted too."""
        return Tally(self.runs, self.ended, self.followed, self.reached)

    @property
    def counts(self) -> tuple[int, ...]:
        return astuple(self)


class Sight:
    """Remembers for which examples of a batch a search saw where to go, at one point at least.

    A network that rounds, saturates, or divides by 0 gives gradients of 0 or NaN, and margins that are the
    same everywhere. A search by them stands still, so that it found nothing says nothing.

    Args:
        n: examples in the batch.
    """

    def __init__(self, n: int) -> None:
        self._n, self._told = n, False
        self._seen: Tensor | None = None
        self._claimed: Tensor | None = None
        self.tally = Tally()
        """What came of work that was left out."""

    @property
    def blind(self) -> Tensor:
        """(n,) the examples of which it saw nothing; none where the search told nothing at all."""
        return ~self._marked(self._seen) & self._told

    @property
    def claimed(self) -> Tensor:
        """(n,) for which examples the search held the model for fooled, at one point at least."""
        return self._marked(self._claimed)

    def see(self, examples: Tensor, usable: Tensor) -> None:
        """Of the ``examples`` (n,) those are seen whose gradient, or other sign, is ``usable`` (n,)."""
        self._told = True
        self._seen = self._counted(self._seen, examples, usable)

    def saw_nothing(self) -> None:
        """The search could not look at all."""
        self._told = True

    def claim(self, examples: Tensor, fooled: Tensor) -> None:
        """The search holds the model for ``fooled`` (n,) by these points of the ``examples`` (n,)."""
        self._claimed = self._counted(self._claimed, examples, fooled)

    def _counted(self, counts: Tensor | None, examples: Tensor, marked: Tensor) -> Tensor:
        """How often each example was marked. Counting needs no look at the marks, and rows may share one."""
        if counts is None:
            counts = torch.zeros(self._n, dtype=torch.int32, device=examples.device)
        return counts.index_add_(0, examples, marked.to(torch.int32))

    def _marked(self, counts: Tensor | None) -> Tensor:
        return torch.zeros(self._n, dtype=torch.bool) if counts is None else counts.cpu() > 0


_WATCHING: ContextVar[Sight | None] = ContextVar("sight", default=None)


@contextmanager
def watched(n: int) -> Iterator[Sight]:
    """Inside, the search of a batch of ``n`` examples tells the result which of them it saw."""
    token = _WATCHING.set(sight := Sight(n))
    try:
        yield sight
    finally:
        _WATCHING.reset(token)


def watching() -> Sight | None:
    """Who is to be told, if anybody."""
    return _WATCHING.get()
