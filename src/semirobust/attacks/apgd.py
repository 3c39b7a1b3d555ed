"""Projected gradient ascent that chooses its own step size."""

from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.base.active import Best, Gone, all_rows, pooled, runs_per_batch
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.attacks.base.climb import Climb
from semirobust.attacks.base.ending import LevelledOff
from semirobust.attacks.base.goals import AbstractGoal, Fool, repeated
from semirobust.attacks.base.losses import LogitLoss, cross_entropy, dlr, dlr_targeted
from semirobust.attacks.base.sight import Tally
from semirobust.attacks.base.steps import AbstractStep, Ascent, HalvedStep, Halving, Memory, SparseStep
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

    In an evaluation, runs on the DLR losses that levelled off far from a success end early
    (:class:`semirobust.attacks.base.ending.LevelledOff`).

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
        if min(self.steps, self.restarts, self.targets, self.eot) < 1:
            raise InputError("steps, restarts, targets and eot: expected at least 1 each")
        if not 0 <= self.rho <= 1:
            raise InputError(f"rho: expected from 0 to 1, got {self.rho}")

    @property
    def name(self) -> str:
        kind = {"ce": "ce", "dlr": "dlr", "dlr-targeted": "t"}[self.loss]
        steps = "" if self.steps == 100 else f"-{self.steps}"
        return f"apgd-{kind}{steps}" + (f"x{self.restarts}" if self.restarts > 1 else "")

    @property
    def cost(self) -> int:
        runs = self.targets if self.loss == "dlr-targeted" else 1
        return 2 * (self.steps + 1) * self.eot * self.restarts * runs

    def left_out(self, tally: Tally) -> str:
        if not tally.left_out:
            return ""
        return (
            f"{self.name} ended {tally.left_out:,} of {tally.considered:,} runs early, which had levelled off"
            f" far from fooling the model; of such that went on all the same fooled it {tally.errors}"
        )

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        runs = self._runs(goal, x)
        if early := self._ending(goal, len(runs) * len(x), seed / "audit", x.device):
            return self._search_audited(cast(Fool, repeated(runs, all_rows(x))), x, len(runs), seed, early)
        best, number = Best(x), 0
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

    def _ending(self, goal: AbstractGoal, runs: int, seed: Seed, device: torch.device) -> LevelledOff | None:
        """What ends runs early; None where all go on, as by the cross entropy, which does not say how far it
        is to a success.
        """
        audited = isinstance(goal, Fool) and goal.audited and goal.early_exit
        if not audited or self.loss == "ce" or self.eot > 1 or self.threat.sparse:
            return None
        return LevelledOff.of_ascents(runs, self.steps, seed, device)

    def _search_audited(self, goal: Fool, x: Tensor, runs: int, seed: Seed, early: LevelledOff) -> Tensor:
        """The same, where runs that levelled off far from their aim end: run r on example i has the number r
        N + i in ``goal``.
        """
        best, n = Best(x, shared=True), len(x)
        rule = HalvedStep(self.threat, self.rho)
        climb = Climb(goal, rule, self.steps, best, Gone(n, x), early)
        groups, waiting, number = list[tuple[Tensor, Seed]](), list[Ascent[Halving]](), 0
        while number < runs and len(rows := best.open_rows(early_exit=True)):
            group = range(number, number + runs_per_batch(goal.batch_rows, len(rows), runs - number))
            groups.append((torch.cat([rows + i * n for i in group]), seed / number))
            waiting.append(climb.begin(*self._started(x, *groups[-1])))
            climb.ascend(waiting[-1], range(1, early.first + 1))
            number = group.stop
            if number < runs and sum(map(len, waiting)) <= goal.batch_rows:
                continue  # most end in the first steps; the others go on together
            batches = list(pooled(waiting, goal.batch_rows))
            waiting = batches[-1:] if number < runs else []
            for a in batches[: len(batches) - len(waiting)]:
                climb.drop_done(a)
                climb.ascend(a, range(early.first + 1, self.steps + 1))
        numbers, tally = early.again(best.reached.repeat(runs))
        goal.count(tally)
        climb = replace(climb, early=None)
        for rows, own in groups if len(numbers) else []:
            again = torch.isin(rows, numbers) & ~best.reached[rows % n]
            a = climb.begin(*(part[again] for part in self._started(x, rows, own)))
            climb.ascend(a, range(1, self.steps + 1))
        return best.x_adv

    def _started(self, x: Tensor, numbers: Tensor, seed: Seed) -> tuple[Tensor, Tensor, Tensor]:
        """The examples of these runs, where they start, and their numbers."""
        clean = x[numbers % len(x)]
        return clean, _random_start(self.threat, clean, seed), numbers

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
        climb = Climb(goal, rule, steps, best, gone, eot=self.eot)
        a = climb.begin(x, x_adv, all_rows(x))
        climb.ascend(a, range(1, steps + 1))
        summit[a.rows] = a.top
        return best, summit


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
