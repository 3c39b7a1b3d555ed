"""Projected gradient ascent."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.attacks.base.goals import AbstractGoal, Ascend, gradient
from semirobust.core.allocator import keep_freed_memory
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed

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
        rows = torch.arange(len(x), device=x.device)
        if self.restarts == 1:
            return self._run(goal, x, rows, seed / 0)
        best = x.clone()
        highest = torch.full((len(x),), -torch.inf, device=x.device, dtype=x.dtype)
        fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for restart in range(self.restarts):
            x_adv = self._run(goal, x[rows], rows, seed / restart)
            with torch.no_grad():
                loss, reached = goal(x_adv, rows)
            reached = torch.zeros_like(fooled[rows]) if reached is None else reached
            before = fooled[rows]
            better = (reached & ~before) | ((reached == before) & (loss > highest[rows]))
            chosen = rows[better]
            best[chosen], highest[chosen], fooled[chosen] = (
                x_adv[better],
                loss[better].to(x.dtype),
                reached[better],
            )
            if goal.leave:
                rows = torch.arange(len(x), device=x.device)[~fooled]
            if len(rows) == 0:
                break
        return best

    def go_on(self, loss: Callable[[Tensor], Tensor], x: Tensor, start: Tensor) -> Tensor:
        """One run from ``start`` (N, ...), whatever ``restarts`` and ``random_start`` say."""
        keep_freed_memory()
        rows = torch.arange(len(x), device=x.device)
        return self._ascend(Ascend(loss), x, rows, self.threat.restrict(x, start))

    def _run(self, goal: AbstractGoal, x: Tensor, rows: Tensor, seed: Seed) -> Tensor:
        """One run on the examples ``rows`` of the batch: where each of them ended."""
        start = self.threat.restrict(x, x + self.threat.sample(x, seed)) if self.random_start else x.clone()
        return self._ascend(goal, x, rows, start)

    def _ascend(self, goal: AbstractGoal, x: Tensor, rows: Tensor, x_adv: Tensor) -> Tensor:
        step = 2.5 * self.threat.epsilon / self.steps if self.step_size is None else self.step_size
        result, frame = x_adv, self.threat.frame(x)
        here = torch.arange(len(x), device=x.device)  # the examples still moving
        for _ in range(self.steps):
            slope, _, reached = gradient(goal, x_adv, rows[here])
            if goal.leave and reached is not None and bool(reached.any()):
                result = result.clone() if result is x_adv else result
                result[here[reached]] = x_adv[reached]
                left = (~reached).nonzero().flatten()
                here, x_adv, slope = here[left], x_adv[left], slope[left]
                frame = tuple(part[left] for part in frame)
                if len(here) == 0:
                    return result
            x_adv = self.threat.restrict_in(frame, self.threat.ascent(slope).mul_(step).add_(x_adv))
        if len(here) == len(x):
            return x_adv
        result[here] = x_adv
        return result
