"""How auto-PGD steps, and how it adapts its step at checkpoints."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from semirobust.attacks.base.active import AbstractActive, all_rows
from semirobust.core.devices import costs_a_wait
from semirobust.threats.base.ball import AbstractBall, flat, per_example
from semirobust.threats.l1 import sparse_ascent

__all__ = ["AbstractStep", "Ascent", "HalvedStep", "Halving", "Memory", "SparseStep"]

_MOMENTUM = 0.75
_SHRINK, _MIN_STEP = 1.5, 0.1


Memory = TypeVar("Memory", bound=tuple[Tensor, ...])
"""What a rule remembers from one checkpoint to the next: a named tuple of tensors (n,)."""


@dataclass
class Ascent(AbstractActive, Generic[Memory]):
    """The points of an ascent, each with a step of its own.

    Attributes:
        rows: (n,) their numbers in the batch.
        x: (n, ...) the clean examples.
        frame: what the ball needs of them to restrict a point.
        x_adv, before: (n, ...) the points, and where they were a step ago.
        gradient, loss: (n, ...) and (n,) at ``x_adv``.
        step: (n,) its length.
        raised: (n,) steps that raised the loss since the last checkpoint.
        top, top_gradient, top_loss: the point of highest loss so far.
        memory: of the rule that moves them.
    """

    rows: Tensor
    x: Tensor
    frame: tuple[Tensor, ...]
    x_adv: Tensor
    before: Tensor
    gradient: Tensor
    loss: Tensor
    step: Tensor
    raised: Tensor
    top: Tensor
    top_gradient: Tensor
    top_loss: Tensor
    memory: Memory

    def record(self, gradient: Tensor, loss: Tensor) -> None:
        """Take the gradient and the loss at ``x_adv``."""
        self.raised = self.raised + (loss > self.loss)
        self.gradient, self.loss = gradient, loss
        rises = loss > self.top_loss
        if costs_a_wait(rises):
            self.top, self.top_gradient = (
                torch.where(per_example(rises, new), new, old)
                for new, old in ((self.x_adv, self.top), (gradient, self.top_gradient))
            )
            self.top_loss = torch.where(rises, loss, self.top_loss)
            return
        higher = rises.nonzero().flatten()
        self.top[higher], self.top_loss[higher] = self.x_adv[higher], loss[higher]
        self.top_gradient[higher] = gradient[higher]

    def go_back(self, mask: Tensor) -> None:
        """Put the marked examples back to their point of highest loss."""
        if costs_a_wait(mask):
            self.x_adv, self.gradient = (
                torch.where(per_example(mask, new), new, old)
                for new, old in ((self.top, self.x_adv), (self.top_gradient, self.gradient))
            )
            return
        where = mask.nonzero().flatten()
        self.x_adv, self.gradient = self.x_adv.clone(), self.gradient.clone()
        self.x_adv[where], self.gradient[where] = self.top[where], self.top_gradient[where]


@dataclass(frozen=True)
class AbstractStep(ABC, Generic[Memory]):
    """Moves the points of an ascent along their gradients."""

    threat: AbstractBall

    def begin(self, x: Tensor, x_adv: Tensor, gradient: Tensor, loss: Tensor) -> Ascent[Memory]:
        """An ascent from the points ``x_adv``, whose gradient and loss are given."""
        step, memory = self.start(x, x_adv)
        return Ascent(
            rows=all_rows(x),
            x=x,
            frame=self.threat.frame(x),
            x_adv=x_adv,
            before=x_adv,
            gradient=gradient,
            loss=loss,
            step=step,
            raised=torch.zeros_like(step),
            top=x_adv.clone(),
            top_gradient=gradient.clone(),
            top_loss=loss.clone(),
            memory=memory,
        )

    def promise(self, a: Ascent[Memory]) -> Tensor:
        """The rise that the gradients promise for the farthest points along them, to first order: (n,)."""
        ahead = self.threat.steepest(a.gradient).mul_(2 * self.threat.epsilon).add_(a.x_adv)
        ahead = self.threat.restrict_in(a.frame, ahead).sub_(a.x_adv)
        return flat(ahead.mul_(a.gradient)).sum(1)

    @abstractmethod
    def start(self, x: Tensor, x_adv: Tensor) -> tuple[Tensor, Memory]:
        """The first step (n,) of each example, and the rule's memory."""

    @abstractmethod
    def move(self, a: Ascent[Memory], *, first: bool) -> None:
        """Set the next ``x_adv`` and ``before``."""

    @abstractmethod
    def checkpoints(self, steps: int) -> dict[int, int]:
        """Steps done at each checkpoint -> steps since the one before."""

    @abstractmethod
    def check(self, a: Ascent[Memory], interval: int) -> None:
        """Adapt the steps; some examples continue from their best point."""


class Halving(NamedTuple):
    """Highest loss at the last checkpoint, and whether the step was halved there: (n,) each."""

    checked: Tensor
    halved: Tensor


@dataclass(frozen=True)
class HalvedStep(AbstractStep[Halving]):
    """Momentum, and a step from 2 epsilon that is halved where it stops paying (Croce & Hein 2020, algorithm
    1).

    Args:
        rho: fraction of steps that must have raised the loss since the last checkpoint.
    """

    rho: float

    def start(self, x: Tensor, x_adv: Tensor) -> tuple[Tensor, Halving]:
        zero = torch.zeros(len(x), device=x.device, dtype=x.dtype)
        # A step counts as halved at first, so that the first checkpoint does not compare with one before.
        memory = Halving(checked=zero - torch.inf, halved=torch.ones_like(zero, dtype=torch.bool))
        return zero + 2 * self.threat.epsilon, memory

    def move(self, a: Ascent[Halving], *, first: bool) -> None:
        ahead = self.threat.steepest(a.gradient).mul_(per_example(a.step, a.x_adv)).add_(a.x_adv)
        z = self.threat.restrict_in(a.frame, ahead)
        if not first:  # x_adv + momentum (z - x_adv) + (1 - momentum) (x_adv - before)
            z = z.mul_(_MOMENTUM).add_(a.x_adv, alpha=2 - 2 * _MOMENTUM).sub_(a.before, alpha=1 - _MOMENTUM)
            z = self.threat.restrict_in(a.frame, z)
        a.before, a.x_adv = a.x_adv, z

    def checkpoints(self, steps: int) -> dict[int, int]:
        interval, minimum, shrink = (max(int(part * steps), 1) for part in (0.22, 0.06, 0.03))
        intervals, done = {}, 0
        while done + interval <= steps:
            done += interval
            intervals[done] = interval
            interval = max(interval - shrink, minimum)
        return intervals

    def check(self, a: Ascent[Halving], interval: int) -> None:
        unchanged = ~a.memory.halved & (a.memory.checked >= a.top_loss)
        halve = (a.raised <= self.rho * interval) | unchanged
        a.step, a.raised = torch.where(halve, a.step / 2, a.step), torch.zeros_like(a.raised)
        a.memory = Halving(checked=a.top_loss.clone(), halved=halve)
        a.go_back(halve)


class Sparsity(NamedTuple):
    """Fraction of the values that a step changes, and how many the best point changed at the last checkpoint:
    (n,) each.
    """

    fraction: Tensor
    changed: Tensor


@dataclass(frozen=True)
class SparseStep(AbstractStep[Sparsity]):
    """Steps along the steepest values only, as many as the best perturbation needs, for the l1 ball.

    At each checkpoint the next steps change 2/3 as many values as the best point does. Where that number fell
    by 5 % the step is epsilon again, elsewhere it shrinks by 1.5 down to epsilon / 10. Source: Croce & Hein
    2021, algorithm 1."""

    def start(self, x: Tensor, x_adv: Tensor) -> tuple[Tensor, Sparsity]:
        memory = _sparsity(x, x_adv)
        return torch.full_like(memory.changed, self.threat.epsilon), memory

    def move(self, a: Ascent[Sparsity], *, first: bool) -> None:
        ahead = sparse_ascent(a.gradient, a.memory.fraction).mul_(per_example(a.step, a.x_adv)).add_(a.x_adv)
        a.before, a.x_adv = a.x_adv, self.threat.restrict_in(a.frame, ahead)

    def checkpoints(self, steps: int) -> dict[int, int]:
        interval = max(int(0.04 * steps), 1)
        return dict.fromkeys(range(interval, steps + 1, interval), interval)

    def check(self, a: Ascent[Sparsity], interval: int) -> None:
        memory = _sparsity(a.x, a.top)
        fell = memory.changed < 0.95 * a.memory.changed
        shrunk = (a.step / _SHRINK).clamp_min(_MIN_STEP * self.threat.epsilon)
        a.step, a.memory = torch.where(fell, self.threat.epsilon, shrunk), memory
        a.go_back(fell)


def _sparsity(x: Tensor, x_adv: Tensor) -> Sparsity:
    changed = (x_adv != x).flatten(1).sum(1).to(x.dtype)
    return Sparsity(fraction=changed / _SHRINK / x[0].numel(), changed=changed)
