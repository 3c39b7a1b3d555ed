"""What an attack tries to reach on a batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from semirobust.attacks.base.gradients import input_gradient, usable_gradient
from semirobust.attacks.base.losses import LogitLoss, cross_entropy
from semirobust.attacks.base.sight import Sight, Tally
from semirobust.core.errors import InputError
from semirobust.core.margin import misclassified
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
    def __call__(self, x_adv: Tensor, rows: Tensor, *, ask: bool = True) -> tuple[Tensor, Tensor | None]:
        """Loss and success of some examples of the batch.

        Args:
            x_adv: (n, ...) candidates.
            rows: (n,) which examples of the batch they belong to.
            ask: whether to count successes that are uncertain until the model itself is asked.

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

    def __call__(self, x_adv: Tensor, rows: Tensor, *, ask: bool = True) -> tuple[Tensor, None]:
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
        certain: the same without asking the model, so that nothing has to be looked at; by default the
            verdict.
        batch_rows: rows that keep the processor busy: an attack may run several of its searches in one batch
            up to so many.
        origin: (n,) which examples of the batch the rows stand for, where not each for its own.
        rounded: of points and their examples, the points at which the model is asked, where those are others:
            in half precision, what is left of a point.
        sight: is told for which examples there was a gradient to follow.
        audited: a search may leave out work that would change nothing, if it audits that.
        network: the classifier itself, for an attack that looks at its layers; None where there is no module.
    """

    model: Callable[[Tensor], Tensor] = field(repr=False)
    y: Tensor = field(repr=False)
    early_exit: bool = False
    loss: LogitLoss = cross_entropy
    target: Tensor | None = field(default=None, repr=False)
    verdict: Verdict | None = field(default=None, repr=False)
    certain: Verdict | None = field(default=None, repr=False)
    batch_rows: int = 64
    origin: Tensor | None = field(default=None, repr=False)
    rounded: Callable[[Tensor, Tensor], Tensor] | None = field(default=None, repr=False)
    sight: Sight | None = field(default=None, repr=False)
    audited: bool = False
    network: nn.Module | None = field(default=None, repr=False)

    def __call__(self, x_adv: Tensor, rows: Tensor, *, ask: bool = True) -> tuple[Tensor, Tensor | None]:
        logits, y = self.logits(x_adv, rows), self.y[rows]
        loss = self.loss(logits, y, None if self.target is None else self.target[rows])
        return loss, self.claim(rows, self.fooled(logits.detach(), x_adv, y, ask=ask))

    def examples(self, rows: Tensor) -> Tensor:
        """Which examples of the batch these rows stand for."""
        return rows if self.origin is None else self.origin[rows]

    def logits(self, x_adv: Tensor, rows: Tensor) -> Tensor:
        """Of the points ``x_adv`` (n, ...) of these rows, differentiable in them: (n, C)."""
        if self.rounded is not None:
            x_adv = x_adv + (self.rounded(x_adv.detach(), self.examples(rows)) - x_adv).detach()
        return self.model(x_adv)

    def see(self, gradient: Tensor, rows: Tensor) -> Tensor:
        """The gradient without what is not finite; who has one to follow is told."""
        gradient, usable = usable_gradient(gradient)
        self.tell(rows, usable)
        return gradient

    def tell(self, rows: Tensor, usable: Tensor) -> None:
        """Tell for which of the ``rows`` (n,) the search sees where to go."""
        if self.sight is not None:
            self.sight.see(self.examples(rows), usable)

    def count(self, tally: Tally) -> None:
        """What came of leaving out proposals, which the result is told."""
        if self.sight is not None:
            self.sight.tally += tally

    def claim(self, rows: Tensor, fooled: Tensor) -> Tensor:
        """``fooled`` (n,) of the ``rows``, which the result is told."""
        if self.sight is not None:
            self.sight.claim(self.examples(rows), fooled)
        return fooled

    def of(self, rows: Tensor, *, early_exit: bool) -> "Fool":
        """The same for these rows alone."""
        return replace(self, y=self.y[rows], origin=self.examples(rows), early_exit=early_exit)

    def fooled(self, logits: Tensor, x_adv: Tensor, y: Tensor, *, ask: bool = True) -> Tensor:
        """Whether each example is misclassified at ``x_adv``, whose logits by ``model`` are given: (n,)."""
        verdict = self.verdict if ask or self.certain is None else self.certain
        return misclassified(logits, y) if verdict is None else verdict(logits, x_adv, y)


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
        first,
        y=first.y[rows].repeat(len(goals)),
        target=torch.cat(targets) if targets else None,
        origin=first.examples(rows).repeat(len(goals)),
    )
    return cast(Goal, merged)


def gradient(
    goal: AbstractGoal, x_adv: Tensor, rows: Tensor, *, ask: bool = True
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradient of the goal's loss at ``x_adv`` (n, ...), with the loss (n,) and what was reached there."""
    x_adv = x_adv.detach().requires_grad_()
    with torch.enable_grad():
        loss, reached = goal(x_adv, rows, ask=ask)
        grad = input_gradient(loss, x_adv).detach()
    grad = goal.see(grad, rows) if isinstance(goal, Fool) else usable_gradient(grad)[0]
    loss = loss.detach()
    # A loss that is no number is below all others, or none would ever be kept after it.
    return like(grad, x_adv), torch.where(loss.isnan(), -torch.inf, loss), reached
