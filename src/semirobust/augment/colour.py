"""Colours changed."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.augment.base.augmentation import AbstractAugmentation
from semirobust.core.seed import Seed

__all__ = ["Colour"]


@dataclass(frozen=True)
class Colour(AbstractAugmentation):
    """One change at random: brightness, contrast, saturation or sharpness times a factor.

    x -> base + factor (x - base), with base black, the image's mean grey, its grey version, or its blurred
    one. Among the operations that Li & Spratling (2023) draw from; of these equalising and others are left
    out (ours).

    Args:
        least: of the factor for saturation and sharpness; for brightness and contrast it is ``least_light``.
        most: of all factors.
    """

    moves_only: ClassVar[bool] = False

    least: float = 0.1
    least_light: float = 0.5
    most: float = 1.9

    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        n, k, _, _ = x_NKHW.shape
        generator, device = seed.generator(x_NKHW.device), x_NKHW.device
        grey = x_NKHW.mean(1, keepdim=True)
        kernel = torch.ones(k, 1, 3, 3, device=device, dtype=x_NKHW.dtype)
        kernel[:, :, 1, 1] = 5.0
        blurred = F.conv2d(F.pad(x_NKHW, (1, 1, 1, 1), mode="replicate"), kernel / kernel[0].sum(), groups=k)
        bases = (
            torch.zeros_like(x_NKHW),
            grey.mean((2, 3), keepdim=True).expand_as(x_NKHW),
            grey.expand_as(x_NKHW),
            blurred,
        )
        chosen = torch.randint(0, len(bases), (n,), generator=generator, device=device)
        base = torch.stack(bases)[chosen, torch.arange(n, device=device)]
        least = torch.where(chosen < 2, self.least_light, self.least)[:, None, None, None]
        factor = least + (self.most - least) * torch.rand(n, 1, 1, 1, generator=generator, device=device)
        return (base + factor * (x_NKHW - base)).clamp(0, 1)
