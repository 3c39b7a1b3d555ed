"""Counting in buckets of a shifted grid."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semirobust.core.devices import costs_a_wait, uploaded
from semirobust.core.seed import Seed

__all__ = ["Buckets", "Plugin", "buckets", "multipliers", "plugin", "plugins"]

_FAR = 2.0**53  # bucket numbers up to here are exact in float64
_CHUNK = 1 << 15  # examples at once, so that a million need little more memory than their keys


@dataclass(frozen=True)
class Buckets:
    """Which bucket each example falls into.

    Attributes:
        of: (N,) bucket of each example, from 0, in 32 bits.
        counts: (M,) number of examples in each bucket, in 32 bits. On a device there are as many as examples,
            and the last ones are empty: to know how many there are the host would wait.
    """

    of: Tensor
    counts: Tensor

    def among(self, chosen: Tensor) -> "Buckets":
        """The buckets of the examples with these indices alone; a bucket may become empty."""
        of = self.of[chosen]
        if costs_a_wait(of):
            return Buckets(of, _counted(of, len(self.counts)))
        return Buckets(of, torch.bincount(of, minlength=len(self.counts)).int())

    def reordered(self, order: Tensor) -> "Buckets":
        """The same with the examples in another order."""
        return Buckets(self.of[order], self.counts)


@dataclass(frozen=True)
class Plugin:
    """Information between two bucketings, from their counts.

    Attributes:
        bits: sum over joint buckets of N_ij / N clip(log2(N N_ij / (N_i M_j)), floor, upper).
        singletons: fraction of joint buckets with one example.
    """

    bits: float
    singletons: float


def buckets(columns: Tensor, width: Tensor, shift: Tensor) -> Buckets:
    """Buckets floor((value + shift) / width) in each coordinate.

    Rows of bucket numbers are compared by a 64-bit hash, sum_k a_k floor_k mod 2^64 with odd a_k. Among a
    million different rows two have the same hash with a probability below one in ten million.

    Args:
        columns: (k, N).
        width, shift: (k,).
    """
    width, shift, odd = (
        uploaded(side, columns.device)[:, None]
        for side in (width, shift, torch.tensor(multipliers(len(columns))))
    )
    parts = [
        (part + shift).div_(width).floor_().clamp_(-_FAR, _FAR).long().mul_(odd).sum(0)
        for part in columns.split(_CHUNK, dim=1)
    ]
    key = torch.cat(parts)
    of, counts = _unique(key)
    return Buckets(of.int(), counts.int())  # 32 bits, since many bucketings are held at once


def plugin(x: Buckets, y: Buckets, floor: float, upper: float) -> Plugin:
    """The plug-in information, each logarithm clipped to [floor, upper]."""
    return plugins([(x, y)], floor, upper)[0]


def plugins(pairs: Iterable[tuple[Buckets, Buckets]], floor: float, upper: float) -> list[Plugin]:
    """:func:`plugin` of several pairs, which are read from a device together."""
    sums = torch.stack([_sums(x, y, floor, upper) for x, y in pairs]).tolist()
    return [Plugin(total / n, single / cells) for total, n, single, cells in sums]


def _sums(x: Buckets, y: Buckets, floor: float, upper: float) -> Tensor:
    """Over the joint buckets: the sum of n I, the examples n, the buckets with one example, and all: (4,)."""
    n = len(x.of)
    cells, counts = _cells(x.of.long() * len(y.counts) + y.of)
    count = counts.double()
    rows = x.counts[torch.div(cells, len(y.counts), rounding_mode="floor")]
    logs = torch.log2(count * n / (rows.double() * y.counts[cells % len(y.counts)])).clamp(floor, upper)
    if costs_a_wait(counts):  # an empty cell says nothing, and its logarithm is no number
        logs = torch.where(counts > 0, logs, 0)
    numbers = ((counts == 1).sum(), (counts > 0).sum())
    return torch.stack([count @ logs, torch.full_like(count[0], n), *(number.double() for number in numbers)])


def _counted(of: Tensor, buckets: int) -> Tensor:
    """How many of ``of`` (N,) are 0, 1, ... buckets - 1, in 32 bits."""
    ones = torch.ones((), dtype=torch.int32, device=of.device).expand(len(of))
    return torch.zeros(buckets, dtype=torch.int32, device=of.device).index_add_(0, of.long(), ones)


def _ranked(key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The sorted key, the number of each of its values from 0, and the order that sorts it: (N,) each."""
    ordered, order = key.sort()
    return ordered, torch.cat([order.new_zeros(1), (ordered[1:] != ordered[:-1]).cumsum(0)]), order


def _unique(key: Tensor) -> tuple[Tensor, Tensor]:
    if costs_a_wait(key):
        _, number, order = _ranked(key)
        number = torch.empty_like(number).scatter_(0, order, number)
        return number, _counted(number, len(key))
    # On one core NumPy is faster than PyTorch here.
    _, of, counts = np.unique(key.numpy(), return_inverse=True, return_counts=True)
    return torch.from_numpy(of), torch.from_numpy(counts)


def _cells(key: Tensor) -> tuple[Tensor, Tensor]:
    """The different values, and how often each is there; on a device as many as examples, the last ones 0
    times.
    """
    if costs_a_wait(key):
        ordered, number, _ = _ranked(key)
        return torch.zeros_like(ordered).scatter_(0, number, ordered), _counted(number, len(key))
    found, times = np.unique(key.numpy(), return_counts=True)
    return torch.from_numpy(found), torch.from_numpy(times)


@cache
def multipliers(k: int) -> list[int]:
    """(k,) fixed odd numbers of 64 bits, for a hash of k numbers."""
    drawn = torch.randint(-(2**62), 2**62, (k,), generator=Seed(("buckets",)).generator())
    odd: NDArray[np.int64] = drawn.numpy() * 2 + 1
    return [int(a) for a in odd]
