"""The l2 ball: the Euclidean length of the change is at most epsilon."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.core.seed import Seed
from semirobust.threats import NORMS
from semirobust.threats.base.ball import AbstractBall, fill, flat, norms, per_example, room

__all__ = ["L2"]


@NORMS.register("l2")
@dataclass(frozen=True)
class L2(AbstractBall):
    """||delta||_2 <= epsilon. The steepest direction is the gradient divided by its length.

    Args:
        epsilon: the radius, in pixel units where 1 is the whole range, so 8/255 for 8 of 255 levels.
        insist: take a radius whose ball holds every image, which is refused otherwise.
    """

    search_order: ClassVar[float | None] = 2

    @property
    def norm(self) -> str:
        return "L2"

    def size(self, delta: Tensor) -> Tensor:
        return norms(delta, 2)

    def dual(self, gradient: Tensor) -> Tensor:
        return norms(gradient, 2)

    def project_ball(self, delta: Tensor) -> Tensor:
        scale = (self.reach / self.size(delta).clamp_min(torch.finfo(delta.dtype).tiny)).clamp_max(1)
        return delta * per_example(scale, delta)

    def steepest(self, gradient: Tensor) -> Tensor:
        # Divided by the largest entry first: the square of a tiny gradient would vanish in floating point.
        tiny = torch.finfo(gradient.dtype).tiny
        scaled = gradient / per_example(norms(gradient, torch.inf).clamp_min(tiny), gradient)
        return scaled / per_example(norms(scaled, 2).clamp_min(tiny), gradient)

    def to_hyperplane(self, t: Tensor, w: Tensor, c: Tensor) -> Tensor:
        # |d_i| = min(m |w_i|, room_i) with sum |w_i| |d_i| = |c|
        direction = w.sign().mul_(per_example(c.sign(), t))
        space, weight = flat(room(t, direction)), flat(torch.abs(w, out=torch.empty_like(t)))  # in one layout
        m = fill(space, weight, weight, c.abs())
        return torch.minimum(room(t, direction), per_example(m, t) * w.abs()).mul_(direction)

    def sample(self, x: Tensor, seed: Seed) -> Tensor:
        generator = seed.generator(x.device)
        direction = self.steepest(torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype))
        uniform = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
        radius = self.epsilon * uniform ** (1 / x[0].numel())
        return direction * per_example(radius, x)
