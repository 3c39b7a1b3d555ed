"""A part of the image, somewhere else."""

from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.augment.base.augmentation import AbstractAugmentation
from semirobust.core.seed import Seed

__all__ = ["CropShift"]


@dataclass(frozen=True)
class CropShift(AbstractAugmentation):
    """Cut rows and columns off, ``most`` together at most, at random sides, and put what is left at a random
    place on black.

    Source: Li & Spratling (2023), section 4; how many is uniform from 0 on, and split at random between rows
        and columns.

    Args:
        most: rows and columns together; 10 for the 32 pixels of CIFAR-10 in the authors' code.
    """

    most: int = 10

    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        n, k, h, w = x_NKHW.shape
        generator, device = seed.generator(x_NKHW.device), x_NKHW.device
        u = torch.rand(6, n, 1, generator=generator, device=device)
        together = (u[0] * (self.most + 1)).floor()
        rows = (u[1] * (together + 1)).floor()
        for dim, size, cut, draw in ((2, h, rows, u[2:4]), (3, w, together - rows, u[4:6])):
            lost = cut.clamp(max=size - 1)
            taken, put = ((part * (lost + 1)).floor() for part in draw)
            at = torch.arange(size, device=device)
            inside = (at >= put) & (at < put + size - lost)
            source = (at + taken - put).clamp(0, size - 1).long()
            shape = (n, 1, size, 1) if dim == 2 else (n, 1, 1, size)
            x_NKHW = x_NKHW.gather(dim, source.view(shape).expand(n, k, h, w)) * inside.view(shape)
        return x_NKHW
