"""Training images with a fraction of others, such as generated ones, in every batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images, Pixels
from semirobust.data.base.sampling import AbstractSampling, batch_sizes

__all__ = ["mixture"]


def mixture(images: Images, extra: Images, fraction: float) -> Images:
    """``images`` with ``extra`` mixed in: a ``fraction`` of every batch is extra, drawn anew each epoch
    (Carmon et al. 2019).

    An epoch has as many images as ``images`` alone, so that budgets stay comparable. Which of ``images`` it
    leaves out is random; each batch has at least one of them.

    Args:
        images: the training images.
        extra: of the same shape, with labels of the same classes; generated images carry those of their
            labeller.
        fraction: from 0 to below 1; 0.7 for the generated images of Wang et al. (2023).

    Raises:
        InputError: another shape, more classes, or no such fraction.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"extra_share: expected from 0 to below 1, got {fraction}")
    if images.shape != extra.shape:
        raise InputError(f"extra: expected images of shape {images.shape}, got {extra.shape}")
    if len(extra.classes) > len(images.classes):
        raise InputError(
            f"extra: expected at most the {len(images.classes)} classes there are, got {len(extra.classes)}"
        )
    if fraction == 0:
        return images
    return Images(
        _Joined(images.pixels, extra.pixels),
        torch.cat([images.y, extra.y]),
        images.classes,
        _Mixed(len(images), fraction),
        images.dtype,
    )


@dataclass(frozen=True)
class _Joined:
    """Pixels of one source, then of another; as floats, because one may have bytes and the other none."""

    first: Tensor | Pixels
    second: Tensor | Pixels

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, rows: Tensor) -> Tensor:
        is_first = rows < len(self.first)
        parts = (self.first[rows[is_first]], self.second[rows[~is_first] - len(self.first)])
        pixels = torch.cat([_floats(part) for part in parts])
        # Back into the order of `rows`.
        positions = torch.cat([is_first.nonzero().flatten(), (~is_first).nonzero().flatten()])
        return torch.empty_like(pixels).index_copy_(0, positions, pixels)


def _floats(pixels: Tensor) -> Tensor:
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()


@dataclass(frozen=True)
class _Mixed(AbstractSampling):
    """Each batch has a ``fraction`` of the images from number ``first`` on; the others are before it."""

    first: int
    fraction: float

    def epoch_size(self, count: int) -> int:
        return self.first

    def batches(self, count: int, size: int, seed: Seed) -> Iterator[Tensor]:
        rest = count - self.first
        originals = torch.randperm(self.first, generator=(seed / "own").generator())
        extras = torch.randperm(rest, generator=(seed / "extra").generator()) + self.first
        at = extra_at = 0
        for length in batch_sizes(self.first, size):
            extra = min(round(self.fraction * length), length - 1)
            # Where there are few extra images, an epoch takes them several times.
            taken = torch.arange(extra_at, extra_at + extra) % rest
            yield torch.cat([originals[at : at + length - extra], extras[taken]])
            at, extra_at = at + length - extra, extra_at + extra
