"""Small displacements of the pixels."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.core.errors import InputError
from semirobust.threats import THREATS
from semirobust.threats.base.threat import AbstractThreat, in_pixel_range

__all__ = ["Flow"]


@THREATS.register("flow")
@dataclass(frozen=True)
class Flow(AbstractThreat):
    """Each pixel is taken, by bilinear interpolation, from a place at most ``limit`` pixels away in each
    direction.

    Whether an image arose so cannot be told from it; :meth:`contains` asks for what must hold if it did: each
    value lies between the minimum and the maximum within ``limit`` pixels, rounded up, of its place.
    Source: the perturbations of StAdv (Xiao et al. 2018), bounded (ours).

    Args:
        limit: in pixels.
    """

    limit: float

    def __post_init__(self) -> None:
        if not (isinstance(self.limit, int | float) and math.isfinite(self.limit) and self.limit >= 0):
            raise InputError(f"limit: expected a finite number of pixels of at least 0, got {self.limit!r}")

    def contains(self, x: Tensor, x_adv: Tensor) -> Tensor:
        slack = max(2e-6, 2 * torch.finfo(x_adv.dtype).eps)
        x, x_adv = x.float(), x_adv.float()
        reach = math.ceil(self.limit)
        maximum = F.max_pool2d(x, 2 * reach + 1, 1, reach)
        minimum = -F.max_pool2d(-x, 2 * reach + 1, 1, reach)
        inside = ((x_adv >= minimum - slack) & (x_adv <= maximum + slack)).flatten(1).all(1)
        return inside & in_pixel_range(x_adv)

    def warp(self, x: Tensor, flow: Tensor) -> Tensor:
        """x_adv(i, j) = x(i + flow_1(i, j), j + flow_0(i, j)) for a flow (N, 2, H, W) in pixels; the border
        is repeated outside.
        """
        h, w = x.shape[2:]
        columns = torch.arange(w, device=x.device, dtype=x.dtype) + flow[:, 0]
        rows = torch.arange(h, device=x.device, dtype=x.dtype)[:, None] + flow[:, 1]
        grid = torch.stack([2 * columns / max(w - 1, 1) - 1, 2 * rows / max(h - 1, 1) - 1], dim=3)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True).clamp(0, 1)

    def __str__(self) -> str:
        return f"flow of {self.limit:g} pixels"
