"""A square cut out."""

from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.augment import AUGMENTATIONS, AbstractAugmentation
from semirobust.augment.base.chain import Chain
from semirobust.augment.crop_flip import CropFlip
from semirobust.core.seed import Seed

__all__ = ["Cutout"]


@dataclass(frozen=True)
class Cutout(AbstractAugmentation):
    """A black square whose centre is uniform in the image, so that part of it may lie outside (DeVries &
    Taylor 2017).

    Args:
        side: of the square, as a fraction of the image's height; 16 of CIFAR-10's 32 pixels in the paper.
    """

    side: float = 0.5

    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        n, _, h, w = x_NKHW.shape
        generator, device = seed.generator(x_NKHW.device), x_NKHW.device
        length = round(self.side * h)
        keep = torch.zeros(n, 1, h, w, dtype=torch.bool, device=device)
        for dim, size in ((2, h), (3, w)):
            start = torch.randint(0, size, (n, 1), generator=generator, device=device) - length // 2
            position = torch.arange(size, device=device)
            outside = (position < start) | (position >= start + length)
            # A pixel stays where its row or its column lies outside the square.
            keep |= outside[:, None, :, None] if dim == 2 else outside[:, None, None, :]
        return x_NKHW * keep


@AUGMENTATIONS.register("cutout")
def crop_flip_cutout(side: float = 0.5) -> Chain:
    """``crop-flip``, then a black square of half the image's height at a random place (DeVries & Taylor
    2017).
    """
    return Chain((CropFlip(4, flip=True), Cutout(side)))
