"""Shifts and mirror images."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.augment import AUGMENTATIONS, AbstractAugmentation
from semirobust.core.seed import Seed

__all__ = ["CropFlip"]


@AUGMENTATIONS.register("crop-flip")
@dataclass(frozen=True)
class CropFlip(AbstractAugmentation):
    """Each image is shifted by up to ``padding`` pixels, zeros coming in, and mirrored with probability 1/2:
    the usual augmentation for CIFAR (source: He et al. 2016, section 4.2).

    Args:
        padding: the largest shift in pixels; 0 for none.
        flip: mirror left and right; wrong for digits.
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
        # Crop H x W out of the padded image: gather the rows first, then the columns.
        shifts = torch.randint(0, 2 * self.padding + 1, (2, n, 1), generator=generator, device=device)
        rows = torch.arange(h, device=device).expand(n, h) + shifts[0]
        columns = columns + shifts[1]
        padded = F.pad(x_NKHW, (self.padding,) * 4)
        padded = padded.gather(2, rows[:, None, :, None].expand(n, k, h, padded.shape[3]))
        return padded.gather(3, columns[:, None, None, :].expand(n, k, h, w))


@AUGMENTATIONS.register("flip")
def flip() -> CropFlip:
    """Mirror images with probability 1/2, and no shifts (source: Krizhevsky et al. 2012)."""
    return CropFlip(0, flip=True)


@AUGMENTATIONS.register("crop")
def crop(padding: int = 4) -> CropFlip:
    """Shifts of up to 4 pixels without mirror images, for digits and the like (ours)."""
    return CropFlip(padding, flip=False)


@AUGMENTATIONS.register("crop-small")
def crop_small(padding: int = 1) -> CropFlip:
    """Shifts of up to 1 pixel without mirror images, for images of about 8 pixels (ours)."""
    return CropFlip(padding, flip=False)
