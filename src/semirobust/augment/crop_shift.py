"""A part of the image, put somewhere else."""

from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.augment import AUGMENTATIONS, AbstractAugmentation
from semirobust.core.seed import Seed

__all__ = ["CropShift"]


@AUGMENTATIONS.register("crop-shift")
@dataclass(frozen=True)
class CropShift(AbstractAugmentation):
    """Rows and columns are cut off at random sides, and the rest is put at a random place on black (Li &
    Spratling 2023, section 4).

    The number of rows and columns together is uniform from 0 to ``max_cut``. It is split between rows and
    columns at random.

    Args:
        max_cut: rows and columns together; 10 for the 32 pixels of CIFAR-10 in the authors' code.
    """

    max_cut: int = 10

    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        n, k, h, w = x_NKHW.shape
        generator, device = seed.generator(x_NKHW.device), x_NKHW.device
        u = torch.rand(6, n, 1, generator=generator, device=device)
        together = (u[0] * (self.max_cut + 1)).floor()
        rows = (u[1] * (together + 1)).floor()
        for dim, size, cut, draws in ((2, h, rows, u[2:4]), (3, w, together - rows, u[4:6])):
            cut = cut.clamp(max=size - 1)  # at least one row or column stays
            # `first` is where the kept part begins in the image, `target` where it begins in the result.
            first, target = ((draw * (cut + 1)).floor() for draw in draws)
            position = torch.arange(size, device=device)
            inside = (position >= target) & (position < target + size - cut)
            source = (position + first - target).clamp(0, size - 1).long()
            shape = (n, 1, size, 1) if dim == 2 else (n, 1, 1, size)
            x_NKHW = x_NKHW.gather(dim, source.view(shape).expand(n, k, h, w)) * inside.view(shape)
        return x_NKHW
