"""Counting in buckets of a shifted grid."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semirobust.core.seed import Seed

__all__ = ["Buckets", "Plugin", "buckets", "multipliers", "plugin"]

_FAR = 2.0**53  # bucket numbers up to here are exact in float64
_CHUNK = 1 << 15  # examples at once, so that a million need little more memory than their keys


@dataclass(frozen=True)
class Buckets:
    """Which bucket each example falls into.

    Attributes:
        of: (N,) bucket of each example, from 0, in 32 bits.
        counts: (M,) number of examples in each bucket, in 32 bits.
    """

    of: Tensor
    counts: Tensor

    def among(self, chosen: Tensor) -> "Buckets":
        """The buckets of the examples with these indices alone; a bucket may become empty."""
        of = self.of[chosen]
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
    width, shift = (side.to(columns.device)[:, None] for side in (width, shift))
    odd = torch.tensor(multipliers(len(columns)), device=columns.device)[:, None]
    parts = [
        (part + shift).div_(width).floor_().clamp_(-_FAR, _FAR).long().mul_(odd).sum(0)
        for part in columns.split(_CHUNK, dim=1)
    ]
    key = torch.cat(parts)
    of, counts = _unique(key)
    return Buckets(of.int(), counts.int())  # 32 bits, since many bucketings are held at once


def plugin(x: Buckets, y: Buckets, floor: float, upper: float) -> Plugin:
    """The plug-in information, each logarithm clipped to [floor, upper]."""
    n = len(x.of)
    cells, counts = _cells(x.of.long() * len(y.counts) + y.of)
    count = counts.double()
    rows = x.counts[torch.div(cells, len(y.counts), rounding_mode="floor")]
    logs = torch.log2(count * n / (rows.double() * y.counts[cells % len(y.counts)])).clamp(floor, upper)
    return Plugin(float(count @ logs) / n, float((counts == 1).double().mean()))


def _unique(key: Tensor) -> tuple[Tensor, Tensor]:
    if key.device.type != "cpu":
        _, of, counts = torch.unique(key, return_inverse=True, return_counts=True)
        return of, counts
    # On one core NumPy is faster than PyTorch here.
    _, of, counts = np.unique(key.numpy(), return_inverse=True, return_counts=True)
    return torch.from_numpy(of), torch.from_numpy(counts)


def _cells(key: Tensor) -> tuple[Tensor, Tensor]:
    if key.device.type != "cpu":
        result: tuple[Tensor, Tensor] = torch.unique(key, return_counts=True)
        return result
    cells, counts = np.unique(key.numpy(), return_counts=True)
    return torch.from_numpy(cells), torch.from_numpy(counts)


@cache
def multipliers(k: int) -> list[int]:
    """(k,) fixed odd numbers of 64 bits, for a hash of k numbers."""
    drawn = torch.randint(-(2**62), 2**62, (k,), generator=Seed(("buckets",)).generator())
    odd: NDArray[np.int64] = drawn.numpy() * 2 + 1
    return [int(a) for a in odd]
