"""Ascents of auto-PGD on a batch, and what is kept of them."""

from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor

from semirobust.attacks.base.active import Best, Gone, looks
from semirobust.attacks.base.ending import LevelledOff
from semirobust.attacks.base.goals import AbstractGoal, gradient
from semirobust.attacks.base.steps import AbstractStep, Ascent, Memory
from semirobust.core.devices import costs_a_wait

__all__ = ["Climb"]


@dataclass(frozen=True)
class Climb(Generic[Memory]):
    """How runs ascend, and the best point of each.

    Attributes:
        goal: what they raise; its rows are those of the runs.
        rule: how they step.
        steps: of a whole run.
        best: the points kept.
        gone: which examples are done; None where a success does not count.
        early: ends runs that levelled off below a loss of 0; None where all go on.
        eot: gradients averaged in each step.
    """

    goal: AbstractGoal
    rule: AbstractStep[Memory]
    steps: int
    best: Best
    gone: Gone | None
    early: LevelledOff | None = None
    eot: int = 1

    def begin(self, x: Tensor, x_adv: Tensor, rows: Tensor) -> Ascent[Memory]:
        """Ascents from the points ``x_adv`` (n, ...) around ``x``, of these rows of the goal, without those
        that are done at once.
        """
        grad, loss, reached = self._gradient(x_adv, rows, ask=looks(x, 0))
        a = self.rule.begin(x, x_adv, grad, loss)
        a.rows = rows
        if self.early is not None:
            self.early.begin(rows, loss, self.rule.promise(a))
        self._keep(a, reached, look=looks(x, 0) or self.steps == 0)
        return a

    def ascend(self, a: Ascent[Memory], steps: range) -> None:
        """Make these steps, from 1; ``a`` is left with the runs that go on."""
        checkpoints = self.rule.checkpoints(self.steps)
        for i in steps:
            if len(a) == 0:
                return
            look = looks(a.x, i) or i == self.steps
            self.rule.move(a, first=i == 1)
            grad, loss, reached = self._gradient(a.x_adv, a.rows, ask=look)
            a.record(grad, loss)
            if self._keep(a, reached, look=look):
                return
            if i in checkpoints:
                self.rule.check(a, checkpoints[i])
            if self.early is not None and i in self.early.steps:
                a.drop(self.early.after(i, a.rows, a.top_loss))
        if steps.stop > self.steps and len(a):
            self.best.keep(a.rows, a.top, a.top_loss, None)
            if self.early is not None:
                self.early.end(a.rows, a.top_loss)

    def drop_done(self, a: Ascent[Memory]) -> None:
        """Leave the runs on examples that are done."""
        if self.gone is not None:
            a.drop(~self.gone.searched(a.rows))

    def _keep(self, a: Ascent[Memory], reached: Tensor | None, *, look: bool) -> bool:
        """Keep the points that ``reached`` (n,) the goal, and drop whose they are; True if none is left.

        Where looking makes the host wait, who is done goes on until a look, which changes nothing of what is
        kept of it.
        """
        if self.gone is None or reached is None or not (costs_a_wait(reached) or bool(reached.any())):
            return False
        leaves = self.goal.early_exit and self.eot == 1
        reached = reached & self.gone.searched(a.rows) if leaves else reached
        if self.eot > 1:  # of a model that answers at random the latest is worth more than one of high loss
            self.best.loss[a.rows] = torch.where(reached, -torch.inf, self.best.loss[a.rows])
        self.best.keep(a.rows, a.x_adv, a.loss, reached, among=reached)
        if self.early is not None:
            self.early.reach(a.rows, reached)
        if leaves:
            self.gone.close(a.rows, reached)
        return leaves and look and a.drop(~self.gone.searched(a.rows))

    def _gradient(self, x_adv: Tensor, rows: Tensor, *, ask: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """As :func:`gradient`, the gradients of ``eot`` passes added up."""
        grad, loss, reached = gradient(self.goal, x_adv, rows, ask=ask)
        for _ in range(self.eot - 1):
            more, loss, reached = gradient(self.goal, x_adv, rows, ask=ask)
            grad = grad + more
        return grad, loss, reached
