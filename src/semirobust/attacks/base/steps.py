"""How auto-PGD steps, and how it adapts its step at checkpoints."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.attacks.base.active import Active
from semirobust.threats.base.ball import AbstractBall, per_example
from semirobust.threats.l1 import sparse_ascent

__all__ = ["AbstractStep", "HalvedStep", "SparseStep"]

_MOMENTUM = 0.75
_SHRINK, _LEAST = 1.5, 0.1


@dataclass(frozen=True)
class AbstractStep(ABC):
    """Moves the points of an :class:`Active` along their slopes, each with its own step.

    The state it works on: ``x``, ``frame``, ``x_adv``, ``before`` (the point before it), ``slope``, ``step``
        (N,), and the
    point of highest loss so far: ``top``, ``top_slope``, ``top_loss``.
    """

    threat: AbstractBall

    @abstractmethod
    def begin(self, x: Tensor, x_adv: Tensor) -> dict[str, Tensor]:
        """Its state for each example, ``step`` among it."""

    @abstractmethod
    def move(self, a: Active, *, first: bool) -> None:
        """Set the next ``x_adv`` and ``before``."""

    @abstractmethod
    def checkpoints(self, steps: int) -> dict[int, int]:
        """Steps done at each checkpoint -> steps since the one before."""

    @abstractmethod
    def check(self, a: Active, interval: int) -> None:
        """Adapt the steps; some examples go on from their best point."""


@dataclass(frozen=True)
class HalvedStep(AbstractStep):
    """Momentum, and a step from 2 epsilon that is halved where it stops paying (Croce & Hein 2020, algorithm
    1).

    Args:
        rho: share of steps that must have raised the loss since the last checkpoint.
    """

    rho: float

    def begin(self, x: Tensor, x_adv: Tensor) -> dict[str, Tensor]:
        zero = torch.zeros(len(x), device=x.device, dtype=x.dtype)
        return {
            "step": zero + 2 * self.threat.epsilon,
            "raised": zero,
            "checked": zero - torch.inf,
            "halved": torch.ones_like(zero, dtype=torch.bool),
        }

    def move(self, a: Active, *, first: bool) -> None:
        ahead = self.threat.steepest(a.slope).mul_(per_example(a.step, a.x_adv)).add_(a.x_adv)
        z = self.threat.restrict_in(a.frame, ahead)
        if not first:  # x_adv + momentum (z - x_adv) + (1 - momentum) (x_adv - before)
            z = z.mul_(_MOMENTUM).add_(a.x_adv, alpha=2 - 2 * _MOMENTUM).sub_(a.before, alpha=1 - _MOMENTUM)
            z = self.threat.restrict_in(a.frame, z)
        a.set(before=a.x_adv, x_adv=z)

    def checkpoints(self, steps: int) -> dict[int, int]:
        interval, least, shrink = (
            max(int(0.22 * steps), 1),
            max(int(0.06 * steps), 1),
            max(int(0.03 * steps), 1),
        )
        found, done = {}, 0
        while done + interval <= steps:
            done += interval
            found[done] = interval
            interval = max(interval - shrink, least)
        return found

    def check(self, a: Active, interval: int) -> None:
        stands = ~a.halved & (a.checked >= a.top_loss)
        halve = (a.raised <= self.rho * interval) | stands
        a.set(
            step=torch.where(halve, a.step / 2, a.step),
            halved=halve,
            checked=a.top_loss.clone(),
            raised=torch.zeros_like(a.raised),
        )
        a.go_back(halve)


@dataclass(frozen=True)
class SparseStep(AbstractStep):
    """Steps along the steepest values only, as many as the best perturbation needs, for the l1 ball.

    At each checkpoint the next steps change 2/3 as many values as the best point does. Where that number fell
    by 5 % the step is epsilon again, elsewhere it shrinks by 1.5 down to epsilon / 10. Source: Croce & Hein
    2021, algorithm 1."""

    def begin(self, x: Tensor, x_adv: Tensor) -> dict[str, Tensor]:
        changed = _changed(x, x_adv)
        step = torch.full_like(changed, self.threat.epsilon)
        return {
            "step": step,
            "share": changed / _SHRINK / x[0].numel(),
            "changed": changed,
            "raised": torch.zeros_like(step),
        }

    def move(self, a: Active, *, first: bool) -> None:
        ahead = sparse_ascent(a.slope, a.share).mul_(per_example(a.step, a.x_adv)).add_(a.x_adv)
        a.set(before=a.x_adv, x_adv=self.threat.restrict_in(a.frame, ahead))

    def checkpoints(self, steps: int) -> dict[int, int]:
        interval = max(int(0.04 * steps), 1)
        return dict.fromkeys(range(interval, steps + 1, interval), interval)

    def check(self, a: Active, interval: int) -> None:
        changed = _changed(a.x, a.top)
        fell = changed < 0.95 * a.changed
        step = torch.where(
            fell, self.threat.epsilon, (a.step / _SHRINK).clamp_min(_LEAST * self.threat.epsilon)
        )
        a.set(step=step, changed=changed, share=changed / _SHRINK / a.x[0].numel())
        a.go_back(fell)


def _changed(x: Tensor, x_adv: Tensor) -> Tensor:
    """How many values of each example were changed: (N,)."""
    return (x_adv != x).flatten(1).sum(1).to(x.dtype)
