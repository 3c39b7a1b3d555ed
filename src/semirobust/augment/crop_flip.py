"""Shifts and mirror images."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.augment.base.augmentation import AbstractAugmentation
from semirobust.core.seed import Seed

__all__ = ["CropFlip"]


@dataclass(frozen=True)
class CropFlip(AbstractAugmentation):
    """Shift by up to ``padding`` pixels (zeros come in) and mirror half of the images: each image on its own.

    Args:
        padding: the largest shift; 0 for none. Four pixels are the custom on CIFAR.
        flip: mirror left and right with probability one half; wrong for digits.
    """

    padding: int = 4
    flip: bool = True

    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        n, k, h, w = x_NKHW.shape
        generator, device = seed.generator(x_NKHW.device), x_NKHW.device
        columns = torch.arange(w, device=device).expand(n, w)
        if self.flip:
            mirrored = torch.rand(n, 1, generator=generator, device=device) < 0.5
            columns = torch.where(mirrored, w - 1 - columns, columns)
        if not self.padding:
            return x_NKHW.gather(3, columns[:, None, None, :].expand(n, k, h, w))
        shifts = torch.randint(0, 2 * self.padding + 1, (2, n, 1), generator=generator, device=device)
        rows = torch.arange(h, device=device).expand(n, h) + shifts[0]
        columns = columns + shifts[1]
        padded = F.pad(x_NKHW, (self.padding,) * 4)
        padded = padded.gather(2, rows[:, None, :, None].expand(n, k, h, padded.shape[3]))
        return padded.gather(3, columns[:, None, None, :].expand(n, k, h, w))
