"""The l1 ball: all changes together add up to at most epsilon."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.core.devices import costs_a_wait
from semirobust.core.seed import Seed
from semirobust.threats import NORMS
from semirobust.threats.base.ball import AbstractBall, flat, norms, per_example, random_signs, room

__all__ = ["L1", "sparse_ascent"]

_FRACTION = 0.05  # of the values, that plain ascent changes
_BISECTIONS = 60
_LOOKS = 12  # turns from one look at a device to the next


@NORMS.register("l1")
@dataclass(frozen=True)
class L1(AbstractBall):
    """||delta||_1 <= epsilon. The steepest direction changes one value; ascent changes the steepest 5 % of
    them.

    :meth:`restrict` is the exact projection onto the intersection of the ball with [0, 1], not one after the
    other, which would leave much of epsilon unused. Source: Croce & Hein 2021, "Mind the box"; the sparse
    steps are those of Tramer & Boneh 2019.

    Args:
        epsilon: the radius, in pixel units where 1 is the whole range, so 8/255 for 8 of 255 levels.
        insist: take a radius whose ball holds every image, which is refused otherwise.
    """

    sparse: ClassVar[bool] = True
    search_order: ClassVar[float | None] = 1

    @property
    def norm(self) -> str:
        return "L1"

    def size(self, delta: Tensor) -> Tensor:
        return norms(delta, 1)

    def dual(self, gradient: Tensor) -> Tensor:
        return norms(gradient, torch.inf)

    def project_ball(self, delta: Tensor) -> Tensor:
        return _shrunk(delta, torch.full_like(delta, torch.inf), self.reach)

    def project(self, x: Tensor, x_adv: Tensor) -> Tensor:
        delta = x_adv - x
        return (x + _shrunk(delta, room(x, delta.sign()), self.reach)).clamp_(0, 1)

    def steepest(self, gradient: Tensor) -> Tensor:
        values = gradient.flatten(1)
        largest = values.abs().argmax(1, keepdim=True)
        one = torch.zeros_like(values).scatter_(1, largest, values.gather(1, largest).sign())
        return one.view_as(gradient)

    def ascent(self, gradient: Tensor) -> Tensor:
        return sparse_ascent(gradient, torch.full((len(gradient),), _FRACTION, device=gradient.device))

    def to_hyperplane(self, t: Tensor, w: Tensor, c: Tensor) -> Tensor:
        # The steepest values go first, each as far as it can.
        direction = w.sign() * per_example(c.sign(), t)
        space, weight = room(t, direction).flatten(1), w.abs().flatten(1)
        steepest, order = weight.sort(dim=1, descending=True, stable=True)
        gain = steepest * space.gather(1, order)
        before = gain.cumsum(1) - gain
        part = ((c.abs()[:, None] - before) / gain.clamp_min(torch.finfo(t.dtype).tiny)).clamp_(0, 1)
        length = torch.zeros_like(space).scatter_(1, order, part) * space
        return length.view(t.shape) * direction

    def sample(self, x: Tensor, seed: Seed) -> Tensor:
        generator, n, d = seed.generator(x.device), len(x), x[0].numel()
        uniform = torch.rand((n, d + 1), generator=generator, device=x.device, dtype=x.dtype)
        # Exponential variables over their sum, one left out, are uniform below the simplex.
        parts = -torch.log1p(-uniform)
        signs = random_signs((n, d), x, generator)
        return (parts[:, :d] / parts.sum(1, keepdim=True) * signs * self.epsilon).view(x.shape)


def sparse_ascent(gradient: Tensor, fraction: Tensor) -> Tensor:
    """The signs of the steepest ``fraction`` (N,) of the values of each example, of l1 length 1; 0 where the
    gradient is 0.
    """
    values = gradient.flatten(1)
    steepness, d = values.abs(), values.shape[1]
    rank = (d - (fraction * d).long()).clamp(1, d) - 1
    minimum = steepness.sort(dim=1).values.gather(1, rank[:, None])
    chosen = values.sign() * (steepness >= minimum)
    return (chosen / chosen.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)


def _shrunk(delta: Tensor, space: Tensor, epsilon: float) -> Tensor:
    """argmin_d ||d - delta||_2 s.t. ||d||_1 <= epsilon and |d_i| <= space_i, with the signs of delta.

    |d_i| = min(max(|delta_i| - m, 0), space_i) for the smallest m >= 0 that brings the sum to epsilon, by
    Newton's method inside a bracket that is halved where a step would leave it.
    """
    if not (
        delta.is_contiguous() or (delta.dim() == 4 and delta.is_contiguous(memory_format=torch.channels_last))
    ):
        delta = delta.contiguous()
    length, space = flat(delta).abs(), flat(torch.empty_like(delta).copy_(space))

    def cut(m: Tensor) -> Tensor:
        return torch.minimum((length - m).clamp_min_(0), space)

    low, high = torch.zeros_like(length[:, :1]), length.amax(1, keepdim=True)
    m, total = low, cut(low).sum(1, keepdim=True)
    outside, waits = total > epsilon, costs_a_wait(total)
    running = torch.ones((), dtype=torch.bool, device=total.device)
    for turn in range(1, _BISECTIONS + 1):
        over = total > epsilon
        low, high = torch.where(over, m, low), torch.where(over, high, m)
        done = ~outside | ((total - epsilon).abs() <= 1e-6 * epsilon) | (high - low <= 1e-9 * high)
        if waits:  # who looks less often stops where who looks each time would
            running = running & ~done.all()
        if (not waits and bool(done.all())) or (waits and turn % _LOOKS == 0 and not bool(running)):
            break
        moving = ((length > m) & (length < m + space)).sum(1, keepdim=True)
        step = m + (total - epsilon) / moving.clamp_min(1)
        moved = torch.where((step > low) & (step < high), step, (low + high) / 2)
        m = torch.where(running, moved, m) if waits else moved
        total = cut(m).sum(1, keepdim=True)
    m = torch.where(outside, torch.where(total <= epsilon * (1 + 1e-6), m, high), 0)
    kept = torch.empty_like(delta)
    flat(kept).copy_(cut(m))
    return kept.mul_(delta.sign())
