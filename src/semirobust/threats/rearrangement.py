"""Pixels put in other places of the same image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.threats import THREATS
from semirobust.threats.base.threat import AbstractThreat, in_pixel_range

__all__ = ["Rearrangement"]


@THREATS.register("rearrangement")
@dataclass(frozen=True)
class Rearrangement(AbstractThreat):
    """Each pixel of the image becomes a copy of some pixel of the same image (Pixle, Pomponi et al. 2022)."""

    def contains(self, x: Tensor, x_adv: Tensor) -> Tensor:
        inside = [self._colours(a, b) for a, b in zip(x, x_adv, strict=True)]
        return torch.tensor(inside, device=x.device, dtype=torch.bool) & in_pixel_range(x_adv)

    def _colours(self, x: Tensor, x_adv: Tensor) -> bool:
        """Whether the image (K, H, W) has no colour that the other lacks."""
        before = torch.unique(x.flatten(1).T, dim=0)
        both = torch.unique(torch.cat([before, x_adv.flatten(1).T]), dim=0)
        return len(both) == len(before)

    def __str__(self) -> str:
        return "rearranged pixels"
