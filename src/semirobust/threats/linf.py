"""The l-infinity ball: every pixel may change by epsilon."""

from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.seed import Seed
from semirobust.threats import THREATS
from semirobust.threats.base import AbstractThreat, norms

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

    def project_ball(self, delta: Tensor) -> Tensor:
        return delta.clamp(-self.epsilon, self.epsilon)

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def sample(self, x: Tensor, seed: Seed) -> Tensor:
        uniform = torch.rand(x.shape, generator=seed.generator(x.device), device=x.device, dtype=x.dtype)
        return (2 * uniform - 1) * self.epsilon
