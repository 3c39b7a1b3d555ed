"""Projected gradient ascent that chooses its own step size."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.active import Active, all_rows
from semirobust.attacks.base import AbstractAttack
from semirobust.attacks.goals import AbstractGoal, Mislead, gradient
from semirobust.attacks.losses import LogitLoss, cross_entropy, dlr, dlr_targeted
from semirobust.errors import InputError
from semirobust.seed import Seed
from semirobust.threats.base import AbstractThreat, per_example

__all__ = ["APGD"]

_LOSSES: dict[str, LogitLoss] = {"ce": cross_entropy, "dlr": dlr, "dlr-targeted": dlr_targeted}
_MOMENTUM = 0.75


@ATTACKS.register("apgd", pattern=r"apgd(?:-(?P<steps>\d+))?")
@dataclass(frozen=True)
class APGD(AbstractAttack):
    """Gradient ascent with momentum, whose step starts at 2 epsilon and is halved where it stops paying.

    z <- restrict(z + step * steepest(gradient)); x_adv <- restrict(x_adv + 0.75 (z - x_adv) + 0.25 (x_adv - before)).
    At checkpoints (after 22 % of the steps, then at intervals that shrink by 3 % down to 6 %) a step is halved, and the
    run goes on from the best point so far, where fewer than ``rho`` of the steps since raised the loss, or where neither
    the step nor the best loss changed since the checkpoint before. Source: Croce & Hein 2020, algorithm 1.

    Args:
        threat: the perturbations allowed (l-infinity or l2).
        steps: gradient steps; each costs one forward and one backward pass.
        loss: ``ce``, ``dlr``, or ``dlr-targeted``: one run for each of the ``targets`` likeliest other classes.
        restarts: independent runs.
        targets: of the targeted loss; fewer where there are fewer classes.
        rho: share of successful steps below which a step is halved.
        eot: gradients averaged in each step, for models that answer at random.
    """

    steps: int = 100
    loss: Literal["ce", "dlr", "dlr-targeted"] = "ce"
    restarts: int = 1
    targets: int = 9
    rho: float = 0.75
    eot: int = 1

    def __post_init__(self) -> None:
        AbstractAttack.__post_init__(self)
        if self.loss not in _LOSSES:
            raise InputError(f"loss: expected one of {', '.join(_LOSSES)}; got {self.loss!r}")
        if min(self.steps, self.restarts, self.targets, self.eot) < 1:
            raise InputError("steps, restarts, targets and eot: expected at least 1 each")

    @property
    def name(self) -> str:
        kind = {"ce": "ce", "dlr": "dlr", "dlr-targeted": "t"}[self.loss]
        return f"apgd-{kind}" + (f"x{self.restarts}" if self.restarts > 1 else "")

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        best = _Best(x)
        for number, run in enumerate(self._runs(goal, x)):
            rows = best.open_rows(leave=goal.leave)
            if len(rows) == 0:
                break
            best.keep(rows, *self._run(run, x[rows], rows, seed / number))
        return best.x_adv

    def _runs(self, goal: AbstractGoal, x: Tensor) -> list[AbstractGoal]:
        """The goals to try one after the other."""
        if not isinstance(goal, Mislead):
            return [goal] * self.restarts
        goal = replace(goal, loss=_LOSSES[self.loss])
        if self.loss != "dlr-targeted":
            return [goal] * self.restarts
        others = likeliest_others(goal, x, self.targets)
        return [replace(goal, target=target) for target in others for _ in range(self.restarts)]

    def _run(self, goal: AbstractGoal, x: Tensor, rows: Tensor, seed: Seed) -> tuple[Tensor, Tensor, Tensor]:
        """One run: the best point of each example, its loss, and whether the goal was reached there."""
        x_adv = _random_start(self.threat, x, seed)
        slope, loss, reached = self._gradient(goal, x_adv, rows)
        best = _Best(x)
        here = all_rows(x)
        best.keep(here, x_adv, loss, _or_none(reached, loss))
        step = torch.full_like(loss, 2 * self.threat.epsilon)
        active = Active(
            here, x=x, goal_rows=rows, x_adv=x_adv, before=x_adv, slope=slope, top=x_adv.clone(), top_slope=slope.clone(),
            top_loss=loss.clone(), step=step, raised=torch.zeros_like(loss), last=loss, checked=loss.clone(),
            halved=torch.ones_like(loss, dtype=torch.bool),
        )  # fmt: skip
        if goal.leave and reached is not None and active.drop(reached):
            return best.result()
        checkpoints = _checkpoints(self.steps)
        for i in range(self.steps):
            self._move(active, first=i == 0)
            slope, loss, reached = self._gradient(goal, active.x_adv, active.goal_rows)
            best.keep(active.rows, active.x_adv, loss, _or_none(reached, loss))
            active.set(slope=slope, raised=active.raised + (loss > active.last), last=loss)
            active.put(loss > active.top_loss, top=active.x_adv, top_slope=slope, top_loss=loss)
            if goal.leave and reached is not None and active.drop(reached):
                break
            if i + 1 in checkpoints:
                self._check(active, checkpoints[i + 1])
        return best.result()

    def _move(self, a: Active, *, first: bool) -> None:
        momentum = 1.0 if first else _MOMENTUM
        ahead = self.threat.steepest(a.slope).mul_(per_example(a.step, a.x)).add_(a.x_adv)
        x_adv = self.threat.restrict(a.x, ahead)
        if not first:
            drift = (a.x_adv - a.before).mul_(1 - momentum)
            x_adv = self.threat.restrict(a.x, drift.add_(a.x_adv).add_(x_adv - a.x_adv, alpha=momentum))
        a.set(before=a.x_adv, x_adv=x_adv)

    def _check(self, a: Active, interval: int) -> None:
        """Halve the step of examples that oscillate or stand still; they go on from their best point."""
        oscillates = a.raised <= self.rho * interval
        stands = ~a.halved & (a.checked >= a.top_loss)
        halve = oscillates | stands
        a.set(
            step=torch.where(halve, a.step / 2, a.step),
            halved=halve,
            checked=a.top_loss.clone(),
            raised=torch.zeros_like(a.raised),
            x_adv=a.x_adv.clone(),
        )
        a.put(halve, x_adv=a.top, slope=a.top_slope)

    def _gradient(self, goal: AbstractGoal, x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        slope, loss, reached = gradient(goal, x_adv, rows)
        for _ in range(self.eot - 1):
            more, loss, reached = gradient(goal, x_adv, rows)
            slope = slope + more
        return slope, loss, reached


class _Best:
    """For each example the point that reached the goal, and the one of highest loss among equals."""

    def __init__(self, x: Tensor) -> None:
        self.x_adv = x.clone()
        self.loss = torch.full((len(x),), -torch.inf, device=x.device)
        self.reached = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def open_rows(self, *, leave: bool) -> Tensor:
        return (~self.reached).nonzero().flatten() if leave else all_rows(self.x_adv)

    def keep(self, rows: Tensor, x_adv: Tensor, loss: Tensor, reached: Tensor) -> None:
        loss, before = loss.float(), self.reached[rows]
        better = ((reached & ~before) | ((reached == before) & (loss > self.loss[rows]))).nonzero().flatten()
        chosen = rows[better]
        self.x_adv[chosen], self.loss[chosen], self.reached[chosen] = x_adv[better], loss[better], reached[better]

    def result(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.x_adv, self.loss, self.reached


def _or_none(reached: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like, dtype=torch.bool) if reached is None else reached


def _random_start(threat: AbstractThreat, x: Tensor, seed: Seed) -> Tensor:
    """x plus a random direction of length epsilon."""
    direction = threat.sample(x, seed)
    scale = threat.epsilon / threat.size(direction).clamp_min(torch.finfo(x.dtype).tiny)
    return threat.restrict(x, x + direction * per_example(scale, x))


def _checkpoints(steps: int) -> dict[int, int]:
    """Steps done at each checkpoint -> steps since the one before."""
    interval, least, shrink = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    found, done = {}, 0
    while done + interval <= steps:
        done += interval
        found[done] = interval
        interval = max(interval - shrink, least)
    return found


def likeliest_others(goal: Mislead, x: Tensor, count: int) -> list[Tensor]:
    """For rank 1, 2, ... the class of that rank among the wrong ones at clean ``x``: up to ``count`` tensors (N,)."""
    with torch.no_grad():
        logits = torch.cat([goal.model(part) for part in x.split(256)])
    wrong = logits.scatter(1, goal.y[:, None], -torch.inf)
    order = wrong.argsort(dim=1, descending=True, stable=True)
    return list(order[:, : min(count, logits.shape[1] - 1)].T.contiguous())
