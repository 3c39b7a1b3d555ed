"""A part of the image, somewhere else."""

from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.data.augment.base import AbstractAugmentation
from semirobust.seed import Seed

__all__ = ["CropShift"]


@dataclass(frozen=True)
class CropShift(AbstractAugmentation):
    """Cut up to ``most`` rows and columns off at random sides and put what is left at a random place on black.

    Source: Li & Spratling (2023), section 4.

    Args:
        most: rows and columns; 11 for the 32 pixels of CIFAR-10.
    """

    most: int = 11

    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        n, k, h, w = x_NKHW.shape
        generator, device = seed.generator(x_NKHW.device), x_NKHW.device
        for dim, size in ((2, h), (3, w)):
            u = torch.rand(3, n, 1, generator=generator, device=device)
            lost = (u[0] * (min(self.most, size - 1) + 1)).floor()
            taken, put = ((u[i] * (lost + 1)).floor() for i in (1, 2))
            at = torch.arange(size, device=device)
            inside = (at >= put) & (at < put + size - lost)
            source = (at + taken - put).clamp(0, size - 1).long()
            shape = (n, 1, size, 1) if dim == 2 else (n, 1, 1, size)
            x_NKHW = x_NKHW.gather(dim, source.view(shape).expand(n, k, h, w)) * inside.view(shape)
        return x_NKHW
