"""Fast adaptive boundary: the smallest perturbation that changes the prediction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.apgd import likeliest_others
from semirobust.attacks.base.active import AbstractActive, all_rows, looks, pooled, runs_per_batch
from semirobust.attacks.base.attack import AbstractBallAttack, Precision
from semirobust.attacks.base.ending import EarlyEnd
from semirobust.attacks.base.goals import AbstractGoal, Fool, expect_fool, repeated
from semirobust.attacks.base.gradients import input_gradient, usable_gradient
from semirobust.attacks.base.sight import Tally
from semirobust.core.devices import costs_a_wait
from semirobust.core.errors import InputError
from semirobust.core.margin import misclassified
from semirobust.core.seed import Seed
from semirobust.fast.layout import like
from semirobust.threats.base.ball import flat, norms, per_example

__all__ = ["FAB"]


# Fraction of points that must cross in a step for a look before the gradient to pay.
_OFTEN = 0.4


@dataclass
class _Points(AbstractActive):
    """Points on their way to a boundary.

    Attributes:
        x, z: (n, ...) the clean examples and the points.
        y, target: (n,) classes on the two sides.
        gradient, difference: of f_target - f_y at z.
        crossed: (n,) whether the point was across, and went back towards x.
    """

    rows: Tensor
    x: Tensor
    z: Tensor
    y: Tensor
    target: Tensor
    gradient: Tensor
    difference: Tensor
    crossed: Tensor


@dataclass(frozen=True)
class _Runs:
    """All runs on the examples of a batch: run r on example i has the number r N + i.

    Attributes:
        goal: of all runs.
        x: (N, ...) the examples.
        size: (R N,) how far the nearest point across the boundary is that a run found; infinity for none.
        nearest, distance: (N, ...) and (N,) the nearest point that any found, and how far it is.
    """

    goal: Fool
    x: Tensor
    size: Tensor
    nearest: Tensor
    distance: Tensor

    def example(self, numbers: Tensor) -> Tensor:
        """The example of each of these runs."""
        return numbers % len(self.x)

    def begin(self, numbers: Tensor, z: Tensor) -> _Points:
        """These runs at the points ``z`` (n, ...)."""
        assert self.goal.target is not None
        return _Points(
            rows=numbers,
            x=self.x[self.example(numbers)],
            z=z,
            y=self.goal.y[numbers],
            target=self.goal.target[numbers],
            gradient=torch.zeros_like(z),
            difference=torch.zeros_like(self.size[numbers]),
            crossed=torch.zeros_like(numbers, dtype=torch.bool),
        )

    def keep(self, numbers: Tensor, z: Tensor, size: Tensor, among: Tensor) -> None:
        """Keep what is nearer of these points (n, ...), ``size`` (n,) away, that ``among`` (n,) marks.

        On a CPU only what is nearer is copied, which costs least; elsewhere nothing is looked at.
        """
        closer = among & (size < self.size[numbers])
        if costs_a_wait(size):
            self.size[numbers] = torch.where(closer, size, self.size[numbers])
            first = self._nearest(numbers, size, closer)
            found, place = first < len(size), first.clamp(max=len(size) - 1)
            self.nearest.copy_(torch.where(per_example(found, z), z[place], self.nearest))
            self.distance.copy_(torch.where(found, size[place], self.distance))
            return
        rows = closer.nonzero().flatten()
        numbers, size = numbers[rows], size[rows]
        self.size[numbers] = size
        first = self._nearest(numbers, size, torch.ones_like(numbers, dtype=torch.bool))
        examples = (first < len(size)).nonzero().flatten()
        chosen = first[examples]
        self.nearest[examples], self.distance[examples] = z[rows[chosen]], size[chosen]

    def _nearest(self, numbers: Tensor, size: Tensor, among: Tensor) -> Tensor:
        """For each example the place of its nearest new point, nearer than what it has; n where there is
        none. Of several as near the first counts.
        """
        examples, far = self.example(numbers), torch.full_like(size, torch.inf)
        least = self.distance.scatter_reduce(0, examples, torch.where(among, size, far), "amin")
        nearer = among & (size < self.distance[examples]) & (size == least[examples])
        place = torch.where(nearer, all_rows(numbers), len(size))
        none = torch.full((len(self.x),), len(size), device=size.device)
        return none.scatter_reduce(0, examples, place, "amin")

    def drop_near(self, a: _Points, radius: float, *, look: bool = True) -> bool:
        """Drop the runs on examples with a point within ``radius``; True if none is left. Without a ``look``
        they stay.
        """
        return look and a.drop(self.distance[self.example(a.rows)] <= radius)


@ATTACKS.register("fab", pattern=r"fab(?:-(?P<steps>\d+))?")
@dataclass(frozen=True)
class FAB(AbstractBallAttack):
    """Steps onto the linearised decision boundary, biased towards the clean example.

    With d1 and d2 the shortest ways from the current point and from x onto the hyperplane f_target = f_y
    (linearised, inside [0, 1]), alpha = min(|d1| / (|d1| + |d2|), alpha_max): z <- clamp((1 - alpha)(z + eta
    d1) + alpha (x + eta d2)). A point across the boundary is kept if it is nearer than the ones before, and
    the search goes back to x + beta (z - x). Source: Croce & Hein 2020b, algorithm 1, in the targeted form
    that AutoAttack uses. A point farther than epsilon is not a success.

    In an evaluation, runs that are far outside the ball end early
    (:class:`semirobust.attacks.base.ending.EarlyEnd`).

    Args:
        threat: the norm, and the radius within which a point counts.
        steps: each costs one forward and one backward pass, and one more where a boundary was crossed.
        targets: how many of the likeliest other classes are tried, one run each; fewer where there are fewer
            classes. 0 is the untargeted form: each step goes to the nearest of all boundaries, at one
            backward pass a class.
        restarts: runs for each target; the second and later start at random within epsilon / 2.
        alpha_max, eta, beta: as above.
    """

    # Steps go onto the decision boundary, nearer than half precision can tell.
    precision: ClassVar[Precision] = "full"

    steps: int = 100
    targets: int = 9
    restarts: int = 1
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    def __post_init__(self) -> None:
        AbstractBallAttack.__post_init__(self)
        if min(self.steps, self.restarts) < 1 or self.targets < 0:
            raise InputError("steps, restarts and targets: expected at least 1, 1 and 0")
        if not (0 <= self.alpha_max <= 1 and self.eta > 0 and 0 < self.beta <= 1):
            values = f"{self.alpha_max}, {self.eta} and {self.beta}"
            raise InputError(
                f"alpha_max, eta and beta: expected from 0 to 1, above 0, and above 0 to 1; got {values}"
            )

    @property
    def name(self) -> str:
        steps = "" if self.steps == 100 else f"-{self.steps}"
        return (
            ("fab-t" if self.targets else "fab") + steps + (f"x{self.restarts}" if self.restarts > 1 else "")
        )

    @property
    def cost(self) -> int:
        return 3 * self.steps * self.restarts * (self.targets or 10)

    def left_out(self, tally: Tally) -> str:
        if not tally.left_out:
            return ""
        return (
            f"{self.name} ended {tally.left_out:,} of {tally.considered:,} runs early, far outside the ball;"
            f" of such that went on all the same came inside {tally.errors}"
        )

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        goal = expect_fool(goal, "fab")
        nearest = x.clone()
        distance = torch.full((len(x),), torch.inf, device=x.device, dtype=x.dtype)
        with torch.no_grad():
            wrong = goal.fooled(torch.cat([goal.model(part) for part in x.split(256)]), x, goal.y)
        distance[wrong] = 0.0  # misclassified as it is
        targets = likeliest_others(goal, x, self.targets) if self.targets else [goal.y]
        runs = [
            (replace(goal, target=target), restart) for target in targets for restart in range(self.restarts)
        ]
        many = _Runs(
            repeated([run for run, _ in runs], all_rows(x)),
            x,
            torch.full((len(runs) * len(x),), torch.inf, device=x.device, dtype=x.dtype),
            nearest,
            distance,
        )
        early = None
        if goal.audited and goal.early_exit and self.restarts == 1:
            early = EarlyEnd(len(many.size), self.threat.epsilon, seed / "audit", x.device)
        number, waiting = 0, list[_Points]()
        while number < len(runs):
            rows = (distance > (self.threat.epsilon if goal.early_exit else 0)).nonzero().flatten()
            if len(rows) == 0:
                break
            group = range(number, number + runs_per_batch(goal.batch_rows, len(rows), len(runs) - number))
            starts = [x[rows] if runs[i][1] == 0 else self._start(x[rows], seed / i) for i in group]
            a = many.begin(torch.cat([rows + i * len(x) for i in group]), torch.cat(starts))
            if early is None:
                self._run(many, a, range(self.steps))
            else:  # most end in the first steps; the others go on together
                self._run(many, a, range(self.steps)[: early.first + 1], early)
                waiting.append(a)
            number = group.stop
        if early is not None:
            self._finish_runs(many, early, waiting)
        inside = per_example(distance <= self.threat.epsilon, x)
        return torch.where(inside, nearest, x)

    def _finish_runs(self, many: _Runs, early: EarlyEnd, waiting: Sequence[_Points]) -> None:
        """The steps that are left, and the whole of runs that ended too early."""
        for a in pooled(waiting, many.goal.batch_rows):
            if not many.drop_near(a, self.threat.epsilon):
                self._run(many, a, range(self.steps)[early.first + 1 :], early)
        near = many.distance <= self.threat.epsilon
        numbers, tally = early.again(many.size, near[many.example(all_rows(many.size))])
        many.goal.count(tally)
        for part in numbers.split(many.goal.batch_rows):
            a = many.begin(part, many.x[many.example(part)])
            if not many.drop_near(a, self.threat.epsilon):
                self._run(many, a, range(self.steps))

    def _start(self, x: Tensor, seed: Seed) -> Tensor:
        return self.threat.restrict(x, x + self.threat.sample(x, seed) / 2)

    def _run(self, many: _Runs, a: _Points, steps: range, early: EarlyEnd | None = None) -> None:
        """These steps of the runs ``a``, which are left where they are then."""
        goal = many.goal
        often = False  # whether most points cross, so that a look before the gradient pays
        for step in steps:
            if often:
                any_crossed = self._record(many, a, _logits(goal, a))
            else:
                a.gradient, a.difference, logits = self._boundary(goal, a.z, a.rows, a.y, a.target)
                any_crossed = self._record(many, a, logits)
            if (
                any_crossed
                and goal.early_exit
                and many.drop_near(a, self.threat.epsilon, look=looks(a.x, step))
            ):
                return
            if early is not None and early.after(step, a, many.size):
                return
            back = a.crossed.nonzero().flatten()  # they start again from nearer to x
            if often:
                a.gradient, a.difference, _ = self._boundary(goal, a.z, a.rows, a.y, a.target)
            elif len(back):
                a.gradient[back], a.difference[back], _ = self._boundary(
                    goal, a.z[back], a.rows[back], a.y[back], a.target[back]
                )
            often = len(back) > _OFTEN * len(a)
            self._move(a)
        if steps.stop == self.steps:
            self._record(many, a, _logits(goal, a))

    def _boundary(
        self, goal: Fool, z: Tensor, rows: Tensor, y: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient and value of f_target - f_y at ``z``, and the logits."""
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            logits = goal.logits(z, rows)
            of_label = logits.gather(1, y[:, None])
            if self.targets:
                difference = (logits.gather(1, target[:, None]) - of_label)[:, 0]
                grad = input_gradient(difference, z)
            else:
                grad, difference = self._nearest(logits - of_label, z, y)
        grad, difference = goal.see(grad.detach(), rows), difference.detach().nan_to_num(0)
        # By powers of two, which changes no digit: faint or saturated logits would leave the range of floats.
        _, exponent = torch.frexp(norms(grad, torch.inf))
        grad, difference = torch.ldexp(grad, -per_example(exponent, grad)), torch.ldexp(difference, -exponent)
        return like(grad, z), difference, logits.detach()

    def _nearest(self, differences: Tensor, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Of all classes the one whose linearised boundary is nearest: its gradient and difference."""
        grad, best = torch.zeros_like(z), torch.full((len(z),), torch.inf, device=z.device, dtype=z.dtype)
        chosen = torch.zeros_like(best)
        for k in range(differences.shape[1]):
            g = usable_gradient(input_gradient(differences[:, k], z, retain_graph=True))[0]
            length = differences[:, k].detach().abs() / (self.threat.dual(g) + 1e-12)
            nearer = (length < best) & (y != k)
            grad = torch.where(per_example(nearer, z), g, grad)
            best, chosen = (
                torch.where(nearer, length, best),
                torch.where(nearer, differences[:, k].detach(), chosen),
            )
        return grad, chosen

    def _record(self, many: _Runs, a: _Points, logits: Tensor) -> bool:
        """Keep nearer points across the boundary, and go back towards x from there; False if none did, where
        that can be seen without waiting.
        """
        size, goal = self.threat.size(a.z - a.x), many.goal
        # Beyond epsilon a point is only a step on the way: logits are enough. Within, the verdict counts.
        crossed, near = misclassified(logits, a.y), size <= self.threat.epsilon
        if goal.verdict is None:
            goal.claim(a.rows, crossed & near)
        elif len(asked := near.nonzero().flatten()):
            crossed[asked] = goal.claim(a.rows[asked], goal.fooled(logits[asked], a.z[asked], a.y[asked]))
        # Who is done may go on until the next look, which changes nothing of what is kept of it.
        done = many.distance[many.example(a.rows)] <= self.threat.epsilon
        many.keep(a.rows, a.z, size, crossed & ~done if goal.early_exit else crossed)
        a.crossed = crossed
        if costs_a_wait(logits):
            a.z = torch.where(per_example(crossed, a.z), a.x + (a.z - a.x) * self.beta, a.z)
            return True
        where = crossed.nonzero().flatten()
        z = a.z.clone()
        z[where] = a.x[where] + (a.z[where] - a.x[where]) * self.beta
        a.z = z
        return len(where) > 0

    def _move(self, a: _Points) -> None:
        """One biased step; ``difference`` = f_target - f_y at z, to be brought to 0."""
        grad, difference = a.gradient, a.difference
        from_x = difference + flat((a.x - a.z).mul_(grad)).sum(1)
        d1 = self.threat.to_hyperplane(a.z, grad, -difference)
        d2 = self.threat.to_hyperplane(a.x, grad, -from_x)
        s1, s2 = self.threat.size(d1).clamp_min_(1e-8), self.threat.size(d2).clamp_min_(1e-8)
        alpha = per_example((s1 / (s1 + s2)).clamp_(max=self.alpha_max), a.x)
        z = d1.mul_(self.eta).add_(a.z)
        z.lerp_(d2.mul_(self.eta).add_(a.x), alpha)
        a.z = z.clamp_(0, 1)


def _logits(goal: Fool, a: _Points) -> Tensor:
    with torch.no_grad():
        return goal.logits(a.z, a.rows)
