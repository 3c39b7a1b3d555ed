"""Whether a search saw where to go."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

__all__ = ["Sight", "watched", "watching"]


class Sight:
    """Remembers for which examples of a batch a search saw where to go, at one point at least.

    A network that rounds, saturates, or divides by 0 gives gradients of 0 or NaN, and margins that are the
    same everywhere. A search by them stands still, so that it found nothing says nothing.

    Args:
        n: examples in the batch.
    """

    def __init__(self, n: int) -> None:
        self._seen, self._told = torch.zeros(n, dtype=torch.bool), False
        self.claimed = torch.zeros(n, dtype=torch.bool)
        """(n,) for which examples the search held the model for fooled, at one point at least."""

    @property
    def blind(self) -> Tensor:
        """(n,) the examples of which it saw nothing; none where the search told nothing at all."""
        return ~self._seen & self._told

    def see(self, examples: Tensor, usable: Tensor) -> None:
        """Of the ``examples`` (n,) those are seen whose gradient, or other sign, is ``usable`` (n,)."""
        self._told = True
        self._seen[examples[usable].cpu()] = True

    def claim(self, examples: Tensor, fooled: Tensor) -> None:
        """The search holds the model for ``fooled`` (n,) by these points of the ``examples`` (n,)."""
        self.claimed[examples[fooled].cpu()] = True


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
