"""A random part of the image, resized to its side."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from semirobust.augment import AUGMENTATIONS, AbstractAugmentation
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed

__all__ = ["RandomResizedCrop"]

_TRIES = 10  # as torchvision's


@AUGMENTATIONS.register("random-resized-crop")
@dataclass(frozen=True)
class RandomResizedCrop(AbstractAugmentation):
    """A random box of the image, resized to its side with anti-aliasing: with ``flip`` the usual augmentation
    for ImageNet (Szegedy et al. 2015; torchvision's transform of this name).

    The area is uniform between ``min_area`` and 1, and width by height uniform in its logarithm from 3/4 to
    4/3. The first of ten such boxes that fits is taken, or else as much of the middle as these ratios allow.
    Where pictures were kept larger than ``image_size`` (``data.resize``), the box is one of what was kept:
    the middle square, and not the whole picture (ours).

    Args:
        min_area: of the box, as a fraction of the image; 0.08 for ImageNet.
        side: of the result; None for that of the images.
    """

    min_area: float = 0.08
    side: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.min_area <= 1:
            raise InputError(f"min_area: expected a fraction above 0 up to 1, got {self.min_area}")

    @property
    def only_moves(self) -> bool:
        return False

    @property
    def takes_whole(self) -> bool:
        return True

    def sized(self, side: int) -> "RandomResizedCrop":
        return replace(self, side=side)

    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        n, _, h, w = x_NKHW.shape
        top, left, height, width = self.boxes(n, h, w, seed, x_NKHW.device)
        rows = _weights(top, height, h, self.side or h).to(x_NKHW.dtype)
        columns = _weights(left, width, w, self.side or w).to(x_NKHW.dtype)
        return (rows[:, None] @ x_NKHW @ columns[:, None].transpose(2, 3)).clamp(0, 1)

    def boxes(self, n: int, h: int, w: int, seed: Seed, device: torch.device) -> tuple[Tensor, ...]:
        """Top, left, height and width (N,) of a box in each of ``n`` images of ``h`` x ``w``, in pixels."""
        u = torch.rand(4, _TRIES, n, generator=seed.generator(device), device=device)
        area = (self.min_area + (1 - self.min_area) * u[0]) * h * w
        limit = math.log(4 / 3)
        ratio = ((2 * u[1] - 1) * limit).exp()
        heights, widths = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
        fits = (heights > 0) & (heights <= h) & (widths > 0) & (widths <= w)
        first = fits.int().argmax(0, keepdim=True)
        tallest, widest = min(h, round(w * 4 / 3)), min(w, round(h * 4 / 3))
        height, width, down, across = (part.gather(0, first)[0] for part in (heights, widths, u[2], u[3]))
        height, width = (
            torch.where(fits.any(0), drawn, float(most))
            for drawn, most in ((height, tallest), (width, widest))
        )
        top = torch.where(fits.any(0), (down * (h - height + 1)).floor(), float((h - tallest) // 2))
        left = torch.where(fits.any(0), (across * (w - width + 1)).floor(), float((w - widest) // 2))
        return top, left, height, width


def _weights(start: Tensor, length: Tensor, size: int, out: int) -> Tensor:
    """How much of each of ``size`` pixels is in each of ``out``: (N, out, size), by a triangle that is as
    wide as the pixels of the larger grid and is cut off at the ends of the part.
    """
    scale = (length / out)[:, None, None]
    centre = start[:, None, None] + (torch.arange(out, device=start.device)[:, None] + 0.5) * scale
    pixel = torch.arange(size, device=start.device)
    weights = (1 - (pixel + 0.5 - centre).abs() / scale.clamp_min(1)).clamp_min(0)
    begin, end = start[:, None, None], (start + length)[:, None, None]
    weights = torch.where((pixel >= begin) & (pixel < end), weights, 0.0)
    return weights / weights.sum(2, keepdim=True)
