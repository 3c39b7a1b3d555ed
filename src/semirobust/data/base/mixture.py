"""Training images with a share of others, such as generated ones, in every batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images, Pixels

__all__ = ["mixture"]


def mixture(own: Images, extra: Images, share: float) -> Images:
    """``own`` with ``extra`` mixed in: of every batch a ``share`` is extra, drawn anew each epoch (Carmon et
    al. 2019).

    An epoch has as many images as ``own`` alone, so that budgets stay comparable. Which own images it leaves
    out is random; of each batch at least one is own.

    Args:
        own: the training images.
        extra: of the same shape, with labels of the same classes; generated images carry those of their
            labeller.
        share: from 0 to below 1; 0.7 for the generated images of Wang et al. (2023).

    Raises:
        InputError: another shape, more classes, or no such share.
    """
    if not 0 <= share < 1:
        raise InputError(f"extra_share: expected from 0 to below 1, got {share}")
    if own.shape != extra.shape:
        raise InputError(f"extra: expected images of shape {own.shape}, got {extra.shape}")
    if len(extra.classes) > len(own.classes):
        raise InputError(
            f"extra: expected at most the {len(own.classes)} classes there are, got {len(extra.classes)}"
        )
    if share == 0:
        return own
    return _Mixture(
        _Both(own.pixels, extra.pixels), torch.cat([own.y, extra.y]), own.classes, len(own), share
    )


@dataclass(frozen=True)
class _Both:
    own: Tensor | Pixels
    extra: Tensor | Pixels

    def __len__(self) -> int:
        return len(self.own) + len(self.extra)

    def __getitem__(self, rows: Tensor) -> Tensor:
        first = rows < len(self.own)
        parts = [_floats(self.own[rows[first]]), _floats(self.extra[rows[~first] - len(self.own)])]
        mixed = torch.cat(parts)
        where = torch.cat([first.nonzero().flatten(), (~first).nonzero().flatten()])
        return torch.empty_like(mixed).index_copy_(0, where, mixed)


def _floats(pixels: Tensor) -> Tensor:
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()


@dataclass(frozen=True)
class _Mixture(Images):
    """The first ``count`` images are own ones."""

    count: int = 0
    share: float = 0.0

    @property
    def an_epoch(self) -> int:
        return self.count

    def batches(self, size: int, *, seed: Seed | None = None) -> Iterator[Tensor]:
        if seed is None:
            yield from super().batches(size)
            return
        own = torch.randperm(self.count, generator=(seed / "own").generator())
        rest = len(self) - self.count
        extra = torch.randperm(rest, generator=(seed / "extra").generator()) + self.count
        own_at = extra_at = 0
        for rows in super().batches(size, seed=seed):  # only for their sizes
            wanted = min(round(self.share * len(rows)), len(rows) - 1)
            taken = (
                torch.arange(extra_at, extra_at + wanted) % rest
            )  # a small second source is gone through several times
            kept = len(rows) - wanted
            yield torch.cat([own[own_at : own_at + kept], extra[taken]])
            own_at, extra_at = own_at + kept, extra_at + wanted
