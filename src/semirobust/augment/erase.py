"""A rectangle of random size and shape erased."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.augment import AUGMENTATIONS, AbstractAugmentation
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed

__all__ = ["Erase"]

_MIN_AREA = 0.02


@AUGMENTATIONS.register("erase")
@dataclass(frozen=True)
class Erase(AbstractAugmentation):
    """A black rectangle of 2 to 33 % of the image's area, 0.3 to 3.3 times as high as wide (Zhong et al.
    2020).

    A rectangle that is too high or too wide is cut to the image (ours; theirs is drawn again).

    Args:
        probability: that an image gets one.
        max_area: the largest area, a fraction of the image's.
    """

    probability: float = 0.5
    max_area: float = 0.33

    def __post_init__(self) -> None:
        if not (0 <= self.probability <= 1 and _MIN_AREA <= self.max_area <= 1):
            raise InputError(
                f"probability and max_area: expected from 0 and from {_MIN_AREA} to 1, got {self.probability}"
                f" and {self.max_area}"
            )

    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        n, _, h, w = x_NKHW.shape
        u = torch.rand(5, n, generator=seed.generator(x_NKHW.device), device=x_NKHW.device)
        # Rounded, so that 0.33 - 0.02 is 0.31.
        area = (_MIN_AREA + round(self.max_area - _MIN_AREA, 12) * u[0]) * h * w
        ratio = torch.exp(math.log(0.3) + (math.log(3.3) - math.log(0.3)) * u[1])  # uniform in its logarithm
        outside = []
        for size, length, draw in ((h, (area * ratio).sqrt(), u[2]), (w, (area / ratio).sqrt(), u[3])):
            length = length.round().clamp(1, size)[:, None]
            start = (draw[:, None] * (size - length + 1)).floor()
            position = torch.arange(size, device=x_NKHW.device)
            outside.append((position < start) | (position >= start + length))
        untouched = u[4] >= self.probability
        keep = outside[0][:, :, None] | outside[1][:, None, :] | untouched[:, None, None]
        return x_NKHW * keep[:, None]
