"""Projected gradient ascent that chooses its own step size."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.base.active import Best, Gone, all_rows, looks, runs_per_batch
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.attacks.base.goals import AbstractGoal, Fool, gradient, repeated
from semirobust.attacks.base.losses import LogitLoss, cross_entropy, dlr, dlr_targeted
from semirobust.attacks.base.steps import AbstractStep, Ascent, HalvedStep, Memory, SparseStep
from semirobust.core.devices import costs_a_wait
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.threats.base.ball import AbstractBall, per_example

__all__ = ["APGD", "likeliest_others"]

_LOSSES: dict[str, LogitLoss] = {"ce": cross_entropy, "dlr": dlr, "dlr-targeted": dlr_targeted}
# Under l1: (radius in epsilons, fraction of the steps).
_STAGES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))


@ATTACKS.register("apgd", pattern=r"apgd(?:-(?P<steps>\d+))?")
@dataclass(frozen=True)
class APGD(AbstractBallAttack):
    """Gradient ascent with momentum, whose step starts at 2 epsilon and is halved where it stops paying.

    z <- restrict(z + step * steepest(gradient)); x_adv <- restrict(x_adv + 0.75 (z - x_adv) + 0.25 (x_adv -
    before)). At checkpoints (after 22 % of the steps, then at intervals that shrink by 3 % down to 6 %) a
    step is halved, and the run continues from the best point so far, where fewer than ``rho`` of the steps
    since raised the loss, or where neither the step nor the best loss changed since the checkpoint before.
    Source: Croce & Hein 2020, algorithm 1.

    Under l1 the steps are sparse and the run comes from balls of 3 and 2 epsilon (Croce & Hein 2021, section
    3).

    Args:
        threat: the perturbations allowed.
        steps: gradient steps; each costs one forward and one backward pass.
        loss: ``ce``, ``dlr``, or ``dlr-targeted``: one run for each of the ``targets`` likeliest other
            classes.
        restarts: independent runs.
        targets: of the targeted loss; fewer where there are fewer classes.
        rho: fraction of successful steps below which a step is halved.
        eot: gradients averaged in each step, for models that answer at random.
    """

    steps: int = 100
    loss: Literal["ce", "dlr", "dlr-targeted"] = "ce"
    restarts: int = 1
    targets: int = 9
    rho: float = 0.75
    eot: int = 1

    def __post_init__(self) -> None:
        AbstractBallAttack.__post_init__(self)
        if self.loss not in _LOSSES:
            raise InputError(f"loss: expected one of {', '.join(_LOSSES)}; got {self.loss!r}")
        if min(self.steps, self.restarts, self.targets, self.eot) < 1:
            raise InputError("steps, restarts, targets and eot: expected at least 1 each")

    @property
    def name(self) -> str:
        kind = {"ce": "ce", "dlr": "dlr", "dlr-targeted": "t"}[self.loss]
        steps = "" if self.steps == 100 else f"-{self.steps}"
        return f"apgd-{kind}{steps}" + (f"x{self.restarts}" if self.restarts > 1 else "")

    @property
    def cost(self) -> int:
        runs = self.targets if self.loss == "dlr-targeted" else 1
        return 2 * (self.steps + 1) * self.eot * self.restarts * runs

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        best, runs, number = Best(x), self._runs(goal, x), 0
        while number < len(runs) and len(rows := best.open_rows(early_exit=goal.early_exit)):
            # Few examples are attacked by several runs in one batch, which keeps the processor busy.
            left = len(runs) - number
            count = runs_per_batch(goal.batch_rows, len(rows), left) if isinstance(goal, Fool) else 1
            merged = repeated(runs[number : number + count], rows)
            result = self._run(merged, torch.cat([x[rows]] * count), len(rows), seed / number)
            for part in range(count):
                rows_of_run = slice(part * len(rows), (part + 1) * len(rows))
                points, losses = result.x_adv[rows_of_run], result.loss[rows_of_run]
                best.keep(rows, points, losses, result.reached[rows_of_run])
            number += count
        return best.x_adv

    def _runs(self, goal: AbstractGoal, x: Tensor) -> list[AbstractGoal]:
        """The goals to try one after the other."""
        if not isinstance(goal, Fool):
            return [goal] * self.restarts
        goal = replace(goal, loss=_LOSSES[self.loss])
        if self.loss != "dlr-targeted":
            return [goal] * self.restarts
        others = likeliest_others(goal, x, self.targets)
        return [replace(goal, target=target) for target in others for _ in range(self.restarts)]

    def _run(self, goal: AbstractGoal, x: Tensor, examples: int, seed: Seed) -> Best:
        """One run on ``x``, in which row i stands for example i modulo ``examples``."""
        if not self.threat.sparse:
            rule = HalvedStep(self.threat, self.rho)
            return self._climb(goal, x, _random_start(self.threat, x, seed), rule, self.steps, examples)[0]
        noise = torch.randn(x.shape, generator=seed.generator(x.device), device=x.device, dtype=x.dtype)
        start, left = x + noise, self.steps
        for radius, fraction in _STAGES:
            threat = self.threat.resized(radius * self.threat.epsilon)
            last = radius == 1
            count = left if last else min(-int(-fraction * self.steps // 1), left)
            left -= count
            # Successes in the larger balls do not count.
            result, start = self._climb(
                goal, x, threat.restrict(x, start), SparseStep(threat), count, examples if last else 0
            )  # fmt: skip
        return result

    def _climb(
        self,
        goal: AbstractGoal,
        x: Tensor,
        x_adv: Tensor,
        rule: AbstractStep[Memory],
        steps: int,
        examples: int,
    ) -> tuple[Best, Tensor]:
        """Ascend from ``x_adv``; ``examples`` 0 ignores successes. Also the points of highest loss."""
        best, summit, gone = Best(x), x_adv.clone(), Gone(examples, x) if examples else None
        grad, loss, reached = self._gradient(goal, x_adv, all_rows(x), ask=looks(x, 0))
        a = rule.begin(x, x_adv, grad, loss)
        checkpoints = rule.checkpoints(steps)
        for i in range(steps + 1):
            look = looks(x, i) or i == steps
            if i:
                rule.move(a, first=i == 1)
                grad, loss, reached = self._gradient(goal, a.x_adv, a.rows, ask=look)
                a.record(grad, loss)
            if (
                gone is not None
                and reached is not None
                and self._keep(goal, best, a, reached, gone, look=look)
            ):
                return best, summit
            if i in checkpoints:
                rule.check(a, checkpoints[i])
        best.keep(a.rows, a.top, a.top_loss, None)
        summit[a.rows] = a.top
        return best, summit

    def _keep(
        self, goal: AbstractGoal, best: Best, a: Ascent[Memory], reached: Tensor, gone: Gone, *, look: bool
    ) -> bool:
        """Keep the points that reached the goal, and drop whose they are; True if none is left.

        Where looking makes the host wait, who is done goes on until a look, which changes nothing of what is
        kept of it.
        """
        leaves = goal.early_exit and self.eot == 1
        if not costs_a_wait(reached):
            if not bool(reached.any()):
                return False
            where = reached.nonzero().flatten()
            # Of a model that answers at random the latest success is worth more than one of high loss.
            if self.eot > 1:
                best.loss[a.rows[where]] = -torch.inf
            best.keep(a.rows[where], a.x_adv[where], a.loss[where], reached[where])
            gone.close(a.rows, reached)
            return leaves and a.drop(~gone.searched(a.rows))
        reached = reached & gone.searched(a.rows) if leaves else reached
        if self.eot > 1:
            best.loss[a.rows] = torch.where(reached, -torch.inf, best.loss[a.rows])
        best.keep(a.rows, a.x_adv, a.loss, reached, among=reached)
        if leaves:
            gone.close(a.rows, reached)
        return leaves and look and a.drop(~gone.searched(a.rows))

    def _gradient(
        self, goal: AbstractGoal, x_adv: Tensor, rows: Tensor, *, ask: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """As :func:`gradient`, the gradients of ``eot`` passes added up."""
        grad, loss, reached = gradient(goal, x_adv, rows, ask=ask)
        for _ in range(self.eot - 1):
            more, loss, reached = gradient(goal, x_adv, rows, ask=ask)
            grad = grad + more
        return grad, loss, reached


def _random_start(threat: AbstractBall, x: Tensor, seed: Seed) -> Tensor:
    """x plus a random direction of length epsilon."""
    direction = threat.sample(x, seed)
    scale = threat.epsilon / threat.size(direction).clamp_min(torch.finfo(x.dtype).tiny)
    return threat.restrict(x, x + direction * per_example(scale, x))


def likeliest_others(goal: Fool, x: Tensor, count: int) -> list[Tensor]:
    """For rank 1, 2, ... the class of that rank among the wrong ones at clean ``x``: up to ``count`` tensors
    (N,).
    """
    with torch.no_grad():
        logits = torch.cat([goal.model(part) for part in x.split(256)])
    wrong = logits.scatter(1, goal.y[:, None], -torch.inf)
    order = wrong.argsort(dim=1, descending=True, stable=True)
    return list(order[:, : min(count, logits.shape[1] - 1)].T.contiguous())
