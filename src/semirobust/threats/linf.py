"""The l-infinity ball: every pixel may change by epsilon."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.core.seed import Seed
from semirobust.threats import NORMS
from semirobust.threats.base.ball import HALF, AbstractBall, below, fill, flat, norms, per_example, room

__all__ = ["Linf"]


@NORMS.register("linf")
@dataclass(frozen=True)
class Linf(AbstractBall):
    """||delta||_inf <= epsilon. The steepest direction is the sign of the gradient.

    Args:
        epsilon: the radius, in pixel units where 1 is the whole range, so 8/255 for 8 of 255 levels.
        insist: take a radius whose ball holds every image, which is refused otherwise.
    """

    search_order: ClassVar[float | None] = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_radius(torch.empty(1, 1))  # its reach does not depend on the size of an image

    @property
    def norm(self) -> str:
        return "Linf"

    def size(self, delta: Tensor) -> Tensor:
        return norms(delta, torch.inf)

    def dual(self, gradient: Tensor) -> Tensor:
        return norms(gradient, 1)

    def project_ball(self, delta: Tensor) -> Tensor:
        radius = below(self.epsilon, delta.dtype)
        return delta.clamp(-radius, radius)

    def project(self, x: Tensor, x_adv: Tensor) -> Tensor:
        return x_adv.clamp(*self.frame(x))

    def frame(self, x: Tensor) -> tuple[Tensor, ...]:
        if x.dtype in HALF:
            return (x,)  # the sums would be rounded out of the ball
        radius = below(self.epsilon, x.dtype)
        return _towards(x, -radius).clamp_(0, 1), _towards(x, radius).clamp_(0, 1)

    def restrict_in(self, frame: tuple[Tensor, ...], x_adv: Tensor) -> Tensor:
        return x_adv.clamp_(*frame) if len(frame) == 2 else self.restrict(frame[0], x_adv)

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def to_hyperplane(self, t: Tensor, w: Tensor, c: Tensor) -> Tensor:
        # |d_i| = min(m, room_i) with sum |w_i| |d_i| = |c|
        direction = w.sign().mul_(per_example(c.sign(), t))
        space, weight = flat(room(t, direction)), flat(torch.abs(w, out=torch.empty_like(t)))  # in one layout
        m = fill(space, weight, None, c.abs())
        return torch.minimum(room(t, direction), per_example(m, t)).mul_(direction)

    def sample(self, x: Tensor, seed: Seed) -> Tensor:
        uniform = torch.rand(x.shape, generator=seed.generator(x.device), device=x.device, dtype=x.dtype)
        return (2 * uniform - 1) * self.epsilon


def _towards(x: Tensor, change: float) -> Tensor:
    """x + change, rounded so that it is no farther from ``x`` than that in exact arithmetic."""
    moved = x + change
    back = moved - x
    # What the rounding of a sum left out is itself a number of that precision (Knuth's two-sum).
    left_out = (x - (moved - back)) + (change - back)
    beyond = left_out < 0 if change > 0 else left_out > 0
    return torch.where(beyond, torch.nextafter(moved, x), moved)
