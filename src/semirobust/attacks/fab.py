"""Fast adaptive boundary: the smallest perturbation that changes the prediction."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.apgd import likeliest_others
from semirobust.attacks.base.active import AbstractActive, Gone, all_rows, looks, runs_per_batch
from semirobust.attacks.base.attack import AbstractBallAttack, Precision
from semirobust.attacks.base.goals import AbstractGoal, Fool, expect_fool, repeated
from semirobust.attacks.base.gradients import input_gradient, usable_gradient
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


@ATTACKS.register("fab", pattern=r"fab(?:-(?P<steps>\d+))?")
@dataclass(frozen=True)
class FAB(AbstractBallAttack):
    """Steps onto the linearised decision boundary, biased towards the clean example.

    With d1 and d2 the shortest ways from the current point and from x onto the hyperplane f_target = f_y
    (linearised, inside [0, 1]), alpha = min(|d1| / (|d1| + |d2|), alpha_max): z <- clamp((1 - alpha)(z + eta
    d1) + alpha (x + eta d2)). A point across the boundary is kept if it is nearer than the ones before, and
    the search goes back to x + beta (z - x). Source: Croce & Hein 2020b, algorithm 1, in the targeted form
    that AutoAttack uses. A point farther than epsilon is not a success.

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

    @property
    def name(self) -> str:
        steps = "" if self.steps == 100 else f"-{self.steps}"
        return (
            ("fab-t" if self.targets else "fab") + steps + (f"x{self.restarts}" if self.restarts > 1 else "")
        )

    @property
    def cost(self) -> int:
        return 3 * self.steps * self.restarts * (self.targets or 10)

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
        number = 0
        while number < len(runs):
            rows = (distance > (self.threat.epsilon if goal.early_exit else 0)).nonzero().flatten()
            if len(rows) == 0:
                break
            group = runs[number : number + runs_per_batch(goal.batch_rows, len(rows), len(runs) - number)]
            many, origin = repeated([run for run, _ in group], rows), torch.cat([x[rows]] * len(group))
            starts = [
                x[rows] if restart == 0 else self._start(x[rows], seed / (number + i))
                for i, (_, restart) in enumerate(group)
            ]
            points, size = self._run(many, origin, torch.cat(starts), len(rows))
            for part in range(len(group)):
                rows_of_run = slice(part * len(rows), (part + 1) * len(rows))
                closer = (size[rows_of_run] < distance[rows]).nonzero().flatten()
                nearest[rows[closer]] = points[rows_of_run][closer]
                distance[rows[closer]] = size[rows_of_run][closer]
            number += len(group)
        inside = per_example(distance <= self.threat.epsilon, x)
        return torch.where(inside, nearest, x)

    def _start(self, x: Tensor, seed: Seed) -> Tensor:
        return self.threat.restrict(x, x + self.threat.sample(x, seed) / 2)

    def _run(self, goal: Fool, x: Tensor, z: Tensor, examples: int) -> tuple[Tensor, Tensor]:
        """One run from ``z``, row i for example i modulo ``examples``: the nearest point across the boundary.

        Also how far it is; infinity where there is none.
        """
        nearest, distance = x.clone(), torch.full((len(x),), torch.inf, device=x.device, dtype=x.dtype)
        assert goal.target is not None
        a = _Points(
            rows=all_rows(x),
            x=x,
            z=z,
            y=goal.y,
            target=goal.target,
            gradient=torch.zeros_like(z),
            difference=torch.zeros_like(distance),
            crossed=torch.zeros_like(goal.y, dtype=torch.bool),
        )
        often = False  # whether most points cross, so that a look before the gradient pays
        gone = Gone(examples, x)
        for step in range(self.steps):
            if often:
                any_crossed = self._record(goal, a, _logits(goal, a), nearest, distance, gone)
            else:
                a.gradient, a.difference, logits = self._boundary(goal, a.z, a.rows, a.y, a.target)
                any_crossed = self._record(goal, a, logits, nearest, distance, gone)
            if any_crossed and goal.early_exit and self._drop_done(a, distance, gone, look=looks(x, step)):
                return nearest, distance
            back = a.crossed.nonzero().flatten()  # they start again from nearer to x
            if often:
                a.gradient, a.difference, _ = self._boundary(goal, a.z, a.rows, a.y, a.target)
            elif len(back):
                a.gradient[back], a.difference[back], _ = self._boundary(
                    goal, a.z[back], a.rows[back], a.y[back], a.target[back]
                )
            often = len(back) > _OFTEN * len(a)
            self._move(a)
        self._record(goal, a, _logits(goal, a), nearest, distance, gone)
        return nearest, distance

    def _drop_done(self, a: _Points, distance: Tensor, gone: Gone, *, look: bool) -> bool:
        """Drop the examples that were fooled within epsilon, in all their rows; True if none is left."""
        gone.close(a.rows, distance[a.rows] <= self.threat.epsilon)
        return look and a.drop(~gone.searched(a.rows))

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

    def _record(
        self, goal: Fool, a: _Points, logits: Tensor, nearest: Tensor, distance: Tensor, gone: Gone
    ) -> bool:
        """Keep nearer points across the boundary, and go back towards x from there; False if none did."""
        if costs_a_wait(logits):
            return self._record_unseen(goal, a, logits, nearest, distance, gone)
        size = self.threat.size(a.z - a.x)
        # Beyond epsilon a point is only a step on the way: logits are enough. Within, the verdict counts.
        crossed, near = misclassified(logits, a.y), size <= self.threat.epsilon
        if bool(near.any()):
            crossed[near] = goal.claim(a.rows[near], goal.fooled(logits[near], a.z[near], a.y[near]))
        where = crossed.nonzero().flatten()
        closer = where[size[where] < distance[a.rows[where]]]
        nearest[a.rows[closer]], distance[a.rows[closer]] = a.z[closer], size[closer]
        z = a.z.clone()
        z[where] = a.x[where] + (a.z[where] - a.x[where]) * self.beta
        a.z, a.crossed = z, crossed
        return len(where) > 0

    def _record_unseen(
        self, goal: Fool, a: _Points, logits: Tensor, nearest: Tensor, distance: Tensor, gone: Gone
    ) -> bool:
        """The same where looking makes the host wait: nothing changes of what is kept of an example that is
        done.
        """
        size = self.threat.size(a.z - a.x)
        crossed, near = misclassified(logits, a.y), size <= self.threat.epsilon
        if goal.verdict is None:
            goal.claim(a.rows, crossed & near)
        elif len(asked := near.nonzero().flatten()):
            crossed[asked] = goal.claim(a.rows[asked], goal.fooled(logits[asked], a.z[asked], a.y[asked]))
        closer = crossed & gone.searched(a.rows) & (size < distance[a.rows])
        nearest[a.rows] = torch.where(per_example(closer, a.z), a.z, nearest[a.rows])
        distance[a.rows] = torch.where(closer, size, distance[a.rows])
        a.z = torch.where(per_example(crossed, a.z), a.x + (a.z - a.x) * self.beta, a.z)
        a.crossed = crossed
        return True

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
