"""Changed colours."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.augment import AUGMENTATIONS, AbstractAugmentation
from semirobust.core.seed import Seed

__all__ = ["Colour"]


@AUGMENTATIONS.register("colour")
@dataclass(frozen=True)
class Colour(AbstractAugmentation):
    """Brightness, contrast, saturation or sharpness, one of them at random, times a random factor (Li &
    Spratling 2023).

    x -> base + factor (x - base). The base is black for brightness, the image's mean grey for contrast, its
    grey version for saturation, and its blurred version for sharpness. The source draws from more operations,
    such as equalising; these are left out (ours).

    Args:
        min_factor: of saturation and sharpness.
        min_light_factor: of brightness and contrast.
        max_factor: of all four.
    """

    min_factor: float = 0.1
    min_light_factor: float = 0.5
    max_factor: float = 1.9

    @property
    def only_moves(self) -> bool:
        return False

    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        n, k, _, _ = x_NKHW.shape
        generator, device = seed.generator(x_NKHW.device), x_NKHW.device
        grey = x_NKHW.mean(1, keepdim=True)
        # The blur of Pillow's sharpness filter: 5 in the middle, 1 around it, over 13.
        kernel = torch.ones(k, 1, 3, 3, device=device, dtype=x_NKHW.dtype)
        kernel[:, :, 1, 1] = 5.0
        blurred = F.conv2d(F.pad(x_NKHW, (1, 1, 1, 1), mode="replicate"), kernel / kernel[0].sum(), groups=k)
        bases = (
            torch.zeros_like(x_NKHW),
            grey.mean((2, 3), keepdim=True).expand_as(x_NKHW),
            grey.expand_as(x_NKHW),
            blurred,
        )
        operation = torch.randint(0, len(bases), (n,), generator=generator, device=device)
        base = torch.stack(bases)[operation, torch.arange(n, device=device)]
        # Operations 0 and 1 are brightness and contrast.
        low = torch.where(operation < 2, self.min_light_factor, self.min_factor)[:, None, None, None]
        factor = low + (self.max_factor - low) * torch.rand(n, 1, 1, 1, generator=generator, device=device)
        return (base + factor * (x_NKHW - base)).clamp(0, 1)
