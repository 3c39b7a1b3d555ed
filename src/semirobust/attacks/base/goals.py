"""What an attack tries to reach on a batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

import torch
from torch import Tensor

from semirobust.attacks.base.gradients import input_gradient
from semirobust.attacks.base.losses import LogitLoss, cross_entropy
from semirobust.core.errors import InputError
from semirobust.fast.layout import like

__all__ = ["AbstractGoal", "Fool", "Maximise", "expect_fool", "gradient", "repeated"]


Goal = TypeVar("Goal", bound="AbstractGoal")
Verdict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``verdict(logits (n, C), x_adv (n, ...), y (n,)) -> (n,)``: which examples are misclassified."""


class AbstractGoal(ABC):
    """A loss to raise, and perhaps a point at which an example is done.

    Attributes:
        early_exit: an attack may drop an example once it reached the goal.
    """

    early_exit: bool = False

    @abstractmethod
    def __call__(self, x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Loss and success of some examples of the batch.

        Args:
            x_adv: (n, ...) candidates.
            rows: (n,) which examples of the batch they belong to.

        Returns:
            loss: (n,), differentiable in ``x_adv``.
            reached: (n,) whether the goal is reached there; None where there is nothing to reach.
        """


@dataclass(frozen=True)
class Maximise(AbstractGoal):
    """Raise ``loss(x_adv) -> (N,)`` on the whole batch; there is no point at which it is enough.

    A loss that is flat at x itself, as a feature distance is, needs an attack with a random start.
    """

    loss: Callable[[Tensor], Tensor] = field(repr=False)

    def __call__(self, x_adv: Tensor, rows: Tensor) -> tuple[Tensor, None]:
        return self.loss(x_adv), None


@dataclass(frozen=True)
class Fool(AbstractGoal):
    """Raise a loss on the logits of ``model`` for the labels ``y`` (N,); reached where the example is
    misclassified.

    Args:
        early_exit: an attack may drop an example once it is misclassified. The verdict on it is the same; its
            perturbation is the first that fools rather than the worst.
        loss: what is raised.
        target: (N,) the class to go for, where the loss has one; any misclassification counts as reached all
            the same.
        verdict: who is misclassified, by the logits of ``model``, the points and the labels; by default the
            prediction.
        batch_rows: rows that keep the processor busy: an attack may run several of its searches in one batch
            up to so many.
    """

    model: Callable[[Tensor], Tensor] = field(repr=False)
    y: Tensor = field(repr=False)
    early_exit: bool = False
    loss: LogitLoss = cross_entropy
    target: Tensor | None = field(default=None, repr=False)
    verdict: Verdict | None = field(default=None, repr=False)
    batch_rows: int = 64

    def __call__(self, x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        logits, y = self.model(x_adv), self.y[rows]
        loss = self.loss(logits, y, None if self.target is None else self.target[rows])
        return loss, self.fooled(logits.detach(), x_adv, y)

    def fooled(self, logits: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Whether each example is misclassified at ``x_adv``, whose logits by ``model`` are given: (n,)."""
        return logits.argmax(1) != y if self.verdict is None else self.verdict(logits, x_adv, y)


def expect_fool(goal: AbstractGoal, name: str) -> Fool:
    """``goal`` for an attack called ``name`` that needs a classifier; InputError for any other."""
    if not isinstance(goal, Fool):
        raise InputError(f"{name}: expected a classifier to fool; it cannot raise other losses")
    return goal


def repeated(goals: Sequence[Goal], rows: Tensor) -> Goal:
    """One goal for several runs on the examples ``rows``, run after run; more than one must fool the same
    model.
    """
    first = goals[0]
    if not isinstance(first, Fool):
        return first
    targets = [g.target[rows] for g in goals if isinstance(g, Fool) and g.target is not None]
    merged = replace(
        first, y=first.y[rows].repeat(len(goals)), target=torch.cat(targets) if targets else None
    )
    return cast(Goal, merged)


def gradient(goal: AbstractGoal, x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradient of the goal's loss at ``x_adv`` (n, ...), with the loss (n,) and what was reached there."""
    x_adv = x_adv.detach().requires_grad_()
    with torch.enable_grad():
        loss, reached = goal(x_adv, rows)
        grad = input_gradient(loss, x_adv)
    return like(grad.detach(), x_adv), loss.detach(), reached
