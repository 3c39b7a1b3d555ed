"""The l-infinity ball: every pixel may change by epsilon."""

from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.seed import Seed
from semirobust.threats import THREATS
from semirobust.threats.base import AbstractThreat, fill, flat, norms, per_example, room

__all__ = ["Linf"]


@THREATS.register("linf")
@dataclass(frozen=True)
class Linf(AbstractThreat):
    """||delta||_inf <= epsilon. The steepest direction is the sign of the gradient."""

    @property
    def norm(self) -> str:
        return "Linf"

    def size(self, delta: Tensor) -> Tensor:
        return norms(delta, torch.inf)

    def dual(self, gradient: Tensor) -> Tensor:
        return norms(gradient, 1)

    def project_ball(self, delta: Tensor) -> Tensor:
        return delta.clamp(-self.epsilon, self.epsilon)

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def to_hyperplane(self, t: Tensor, w: Tensor, c: Tensor) -> Tensor:
        # |d_i| = min(m, room_i) with sum |w_i| |d_i| = |c|
        direction = w.sign().mul_(per_example(c.sign(), t))
        space, weight = flat(room(t, direction)), flat(torch.abs(w, out=torch.empty_like(t)))  # in one layout
        m = fill(space, weight, 1.0, c.abs())
        return torch.minimum(room(t, direction), per_example(m, t)).mul_(direction)

    def sample(self, x: Tensor, seed: Seed) -> Tensor:
        uniform = torch.rand(x.shape, generator=seed.generator(x.device), device=x.device, dtype=x.dtype)
        return (2 * uniform - 1) * self.epsilon
