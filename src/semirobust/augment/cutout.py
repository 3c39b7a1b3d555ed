"""A square cut out."""

from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.augment.base.augmentation import AbstractAugmentation
from semirobust.core.seed import Seed

__all__ = ["Cutout"]


@dataclass(frozen=True)
class Cutout(AbstractAugmentation):
    """Black out a square whose centre is uniform in the image, so that part of it may lie outside (DeVries &
    Taylor 2017).

    Args:
        side: of the square, a share of the image's height; 16 of CIFAR-10's 32 pixels in the paper.
    """

    side: float = 0.5

    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        n, _, h, w = x_NKHW.shape
        generator, device = seed.generator(x_NKHW.device), x_NKHW.device
        length = round(self.side * h)
        keep = torch.zeros(n, 1, h, w, dtype=torch.bool, device=device)
        for dim, size in ((2, h), (3, w)):
            start = torch.randint(0, size, (n, 1), generator=generator, device=device) - length // 2
            at = torch.arange(size, device=device)
            outside = (at < start) | (at >= start + length)
            keep |= outside[:, None, :, None] if dim == 2 else outside[:, None, None, :]
        return x_NKHW * keep
