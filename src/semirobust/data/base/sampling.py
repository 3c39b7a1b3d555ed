"""In which order an epoch goes through the images."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.core.seed import Seed

__all__ = ["AbstractSampling", "Shuffled", "batch_sizes"]


class AbstractSampling(ABC):
    """Which images an epoch takes, in which order."""

    @abstractmethod
    def epoch_size(self, count: int) -> int:
        """How many images an epoch takes, of ``count``."""

    @abstractmethod
    def batches(self, count: int, size: int, seed: Seed) -> Iterator[Tensor]:
        """Indices below ``count`` in batches of :func:`batch_sizes`; equal seeds draw equally."""


@dataclass(frozen=True)
class Shuffled(AbstractSampling):
    """Every image once, in random order."""

    def epoch_size(self, count: int) -> int:
        return count

    def batches(self, count: int, size: int, seed: Seed) -> Iterator[Tensor]:
        order = torch.randperm(count, generator=seed.generator())
        yield from order.split(batch_sizes(count, size))


def batch_sizes(count: int, size: int) -> list[int]:
    """``count`` images in batches of ``size``; the last may be smaller, or larger by one.

    A single image that is left goes into the batch before, because batch norm cannot train on one image.
    """
    full, rest = divmod(count, size)
    sizes = [size] * full + ([rest] if rest else [])
    if len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [sizes[-2] + 1]
    return sizes
