"""Projected gradient ascent."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.base.active import AbstractActive, Best, all_rows, looks
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.attacks.base.goals import AbstractGoal, gradient
from semirobust.core.allocator import keep_freed_memory
from semirobust.core.devices import costs_a_wait
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.threats.base.ball import per_example

__all__ = ["PGD"]


@ATTACKS.register("pgd", pattern=r"pgd(?:-(?P<steps>\d+))?(?:x(?P<restarts>\d+))?")
@dataclass(frozen=True)
class PGD(AbstractBallAttack):
    """Repeats x_adv <- restrict(x_adv + step_size * steepest(gradient)) (Madry et al. 2018, section 2.1).

    With several restarts an example keeps the first result that reaches the goal, and the one of highest loss
    where none does. With one restart it keeps the last point, as the references do.

    Args:
        threat: the perturbations allowed.
        steps: gradient steps; each costs one forward and one backward pass.
        step_size: length of a step in pixel units; None for 2.5 * epsilon / steps (Madry's rule: the ball can
            be crossed; 2/255 for 10 steps at 8/255).
        restarts: independent runs; more than one needs a random start to differ.
        random_start: start at a uniform point of the ball rather than at x.
    """

    steps: int = 10
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = True

    def __post_init__(self) -> None:
        AbstractBallAttack.__post_init__(self)
        if self.steps < 1 or self.restarts < 1:
            raise InputError(f"steps and restarts: expected at least 1, got {self.steps} and {self.restarts}")
        if self.step_size is not None and not self.step_size > 0:
            raise InputError(f"step_size: expected a positive length in pixel units, got {self.step_size}")
        if self.restarts > 1 and not self.random_start:
            raise InputError("restarts: expected 1 without a random start, since all of them would be equal")

    @property
    def name(self) -> str:
        return f"pgd-{self.steps}" + (f"x{self.restarts}" if self.restarts > 1 else "")

    @property
    def cost(self) -> int:
        return 2 * self.steps * self.restarts

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        if self.restarts == 1:
            return self._run(goal, x, all_rows(x), seed / 0)
        best = Best(x)
        for restart in range(self.restarts):
            rows = best.open_rows(early_exit=goal.early_exit)
            if len(rows) == 0:
                break
            x_adv = self._run(goal, x[rows], rows, seed / restart)
            with torch.no_grad():
                loss, reached = goal(x_adv, rows)
            best.keep(rows, x_adv, loss, reached)
        return best.x_adv

    def continue_from(self, loss: Callable[[Tensor], Tensor], x: Tensor, start: Tensor) -> Tensor:
        """One run from ``start`` (N, ...), whatever ``restarts`` and ``random_start`` say."""
        keep_freed_memory()

        def ascend(goal: AbstractGoal, z: Tensor) -> Tensor:
            return self._ascend(goal, z, all_rows(z), self.threat.restrict(z, start.to(z)))

        return self._raised(loss, x, ascend)

    def _run(self, goal: AbstractGoal, x: Tensor, rows: Tensor, seed: Seed) -> Tensor:
        """One run on the examples ``rows`` of the batch: where each of them ended."""
        start = self.threat.restrict(x, x + self.threat.sample(x, seed)) if self.random_start else x.clone()
        return self._ascend(goal, x, rows, start)

    def _ascend(self, goal: AbstractGoal, x: Tensor, rows: Tensor, x_adv: Tensor) -> Tensor:
        if goal.early_exit and costs_a_wait(x):
            return self._ascend_by_schedule(goal, x, rows, x_adv)
        result, frame = x_adv, self.threat.frame(x)
        moving = all_rows(x)  # all but those that reached the goal, where they may exit early
        for _ in range(self.steps):
            grad, _, reached = gradient(goal, x_adv, rows[moving])
            if goal.early_exit and reached is not None and bool(reached.any()):
                result = result.clone() if result is x_adv else result
                result[moving[reached]] = x_adv[reached]
                left = (~reached).nonzero().flatten()
                moving, x_adv, grad = moving[left], x_adv[left], grad[left]
                frame = tuple(part[left] for part in frame)
                if len(moving) == 0:
                    return result
            x_adv = self._moved(frame, grad, x_adv)
        if len(moving) == len(x):
            return x_adv
        result[moving] = x_adv
        return result

    def _ascend_by_schedule(self, goal: AbstractGoal, x: Tensor, rows: Tensor, x_adv: Tensor) -> Tensor:
        """The same where looking makes the host wait: who reached the goal goes on, which changes nothing of
        what is kept of it, until it is left out at one of the looks.
        """
        result = x_adv.clone()
        a = _Moving(all_rows(x), x_adv, x_adv, torch.ones(len(x), dtype=torch.bool, device=x.device))
        a.frame = self.threat.frame(x)
        for step in range(self.steps):
            look = looks(x, step)
            grad, _, reached = gradient(goal, a.x_adv, rows[a.rows], ask=look)
            if reached is not None:
                a.kept = torch.where(per_example(a.open & reached, x), a.x_adv, a.kept)
                a.open = a.open & ~reached
            a.x_adv = self._moved(a.frame, grad, a.x_adv)
            if look:
                result[a.rows] = a.kept
                if a.drop(~a.open):
                    return result
        result[a.rows] = torch.where(per_example(a.open, x), a.x_adv, a.kept)
        return result

    def _moved(self, frame: tuple[Tensor, ...], grad: Tensor, x_adv: Tensor) -> Tensor:
        """One step."""
        step = 2.5 * self.threat.epsilon / self.steps if self.step_size is None else self.step_size
        return self.threat.restrict_in(frame, self.threat.ascent(grad).mul_(step).add_(x_adv))


@dataclass
class _Moving(AbstractActive):
    """Points of an ascent that is looked at by schedule.

    Attributes:
        x_adv: (n, ...) where they are.
        kept: (n, ...) where each reached the goal first.
        open: (n,) who did not reach it.
        frame: what the ball needs of the clean examples.
    """

    rows: Tensor
    x_adv: Tensor
    kept: Tensor
    open: Tensor
    frame: tuple[Tensor, ...] = ()
