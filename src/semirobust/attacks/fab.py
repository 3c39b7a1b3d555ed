"""Fast adaptive boundary: the smallest perturbation that changes the prediction."""

from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.active import Active, all_rows
from semirobust.attacks.apgd import likeliest_others
from semirobust.attacks.base import AbstractAttack
from semirobust.attacks.goals import AbstractGoal, Mislead
from semirobust.errors import InputError
from semirobust.seed import Seed
from semirobust.threats.base import per_example

__all__ = ["FAB"]


@ATTACKS.register("fab", pattern=r"fab(?:-(?P<steps>\d+))?")
@dataclass(frozen=True)
class FAB(AbstractAttack):
    """Steps onto the linearised decision boundary, biased towards the clean example.

    With d1 and d2 the shortest ways from the current point and from x onto the hyperplane f_target = f_y (linearised,
    inside [0, 1]), alpha = min(|d1| / (|d1| + |d2|), alpha_max):
    z <- clamp((1 - alpha)(z + eta d1) + alpha (x + eta d2)). A point across the boundary is kept if it is nearer than
    the ones before, and the search goes back to x + beta (z - x). Source: Croce & Hein 2020b, algorithm 1, in the
    targeted form that AutoAttack uses. A found point farther than epsilon is not a success.

    Args:
        threat: the norm, and the radius within which a point counts.
        steps: each costs one forward and one backward pass, and one more where a boundary was crossed.
        targets: how many of the likeliest other classes are tried, one run each; fewer where there are fewer classes.
            0 is the untargeted form: each step goes to the nearest of all boundaries, at one backward pass a class.
        restarts: runs for each target; the second and later start at random within epsilon / 2.
        alpha_max, eta, beta: as above.
    """

    steps: int = 100
    targets: int = 9
    restarts: int = 1
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    def __post_init__(self) -> None:
        AbstractAttack.__post_init__(self)
        if min(self.steps, self.restarts) < 1 or self.targets < 0:
            raise InputError("steps, restarts and targets: expected at least 1, 1 and 0")

    @property
    def name(self) -> str:
        return ("fab-t" if self.targets else "fab") + (f"x{self.restarts}" if self.restarts > 1 else "")

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        if not isinstance(goal, Mislead):
            raise InputError("fab: expected a classifier to mislead; it cannot raise other losses")
        goal = goal.in_full_precision()
        nearest = x.clone()
        distance = torch.full((len(x),), torch.inf, device=x.device, dtype=x.dtype)
        with torch.no_grad():
            wrong = torch.cat([goal.model(part) for part in x.split(256)]).argmax(1) != goal.y
        distance[wrong] = 0.0  # misclassified as it is
        targets = likeliest_others(goal, x, self.targets) if self.targets else [goal.y]
        runs = [(target, restart) for target in targets for restart in range(self.restarts)]
        for number, (target, restart) in enumerate(runs):
            rows = (distance > (self.threat.epsilon if goal.leave else 0)).nonzero().flatten()
            if len(rows) == 0:
                break
            found, size = self._run(goal, x[rows], rows, target[rows], seed / number if restart else None)
            closer = (size < distance[rows]).nonzero().flatten()
            nearest[rows[closer]], distance[rows[closer]] = found[closer], size[closer]
        inside = per_example(distance <= self.threat.epsilon, x)
        return torch.where(inside, nearest, x)

    def _run(self, goal: Mislead, x: Tensor, rows: Tensor, target: Tensor, seed: Seed | None) -> tuple[Tensor, Tensor]:
        """One run: the nearest point across the boundary, and how far it is; infinity where there is none."""
        z = x if seed is None else self.threat.restrict(x, x + self.threat.sample(x, seed) / 2)
        nearest, distance = x.clone(), torch.full((len(x),), torch.inf, device=x.device, dtype=x.dtype)
        a = Active(all_rows(x), x=x, z=z, y=goal.y[rows], target=target)
        for _ in range(self.steps):
            slope, difference, crossed = self._boundary(goal, a)
            if bool(crossed.any()):
                if self._record(a, crossed, nearest, distance, leave=goal.leave):
                    return nearest, distance
                slope, difference, crossed = self._boundary(goal, a)
            self._move(a, slope, difference)
        with torch.no_grad():
            crossed = goal.misled(goal.model(a.z), a.z, a.y)
        self._record(a, crossed, nearest, distance, leave=False)
        return nearest, distance

    def _boundary(self, goal: Mislead, a: Active) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient and value of f_target - f_y at z, and whether z is misclassified."""
        z = a.z.detach().requires_grad_()
        with torch.enable_grad():
            logits = goal.model(z)
            own = logits.gather(1, a.y[:, None])
            if self.targets:
                difference = (logits.gather(1, a.target[:, None]) - own)[:, 0]
                (slope,) = torch.autograd.grad(difference.sum(), z)
            else:
                slope, difference = self._nearest(logits - own, z, a.y)
        return slope.detach(), difference.detach(), goal.misled(logits.detach(), a.z, a.y)

    def _nearest(self, differences: Tensor, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Of all classes the one whose linearised boundary is nearest: its gradient and difference."""
        slope, best = torch.zeros_like(z), torch.full((len(z),), torch.inf, device=z.device, dtype=z.dtype)
        chosen = torch.zeros_like(best)
        for k in range(differences.shape[1]):
            (g,) = torch.autograd.grad(differences[:, k].sum(), z, retain_graph=True)
            way = differences[:, k].detach().abs() / (self.threat.dual(g) + 1e-12)
            nearer = (way < best) & (y != k)
            slope = torch.where(per_example(nearer, z), g, slope)
            best, chosen = torch.where(nearer, way, best), torch.where(nearer, differences[:, k].detach(), chosen)
        return slope, chosen

    def _record(self, a: Active, crossed: Tensor, nearest: Tensor, distance: Tensor, *, leave: bool) -> bool:
        """Keep nearer points, go back towards x, and drop who is near enough; True if none is left."""
        where = crossed.nonzero().flatten()
        size = self.threat.size(a.z[where] - a.x[where])
        closer = size < distance[a.rows[where]]
        kept = a.rows[where[closer]]
        nearest[kept], distance[kept] = a.z[where[closer]], size[closer]
        z = a.z.clone()
        z[where] = a.x[where] + (a.z[where] - a.x[where]) * self.beta
        a.set(z=z)
        return leave and a.drop(distance[a.rows] <= self.threat.epsilon)

    def _move(self, a: Active, slope: Tensor, difference: Tensor) -> None:
        """One biased step; ``difference`` = f_target - f_y at z, to be brought to 0."""
        from_x = difference + ((a.x - a.z) * slope).flatten(1).sum(1)
        points, normals = torch.cat([a.z, a.x]), torch.cat([slope, slope])
        d1, d2 = self.threat.to_hyperplane(points, normals, -torch.cat([difference, from_x])).chunk(2)
        s1, s2 = self.threat.size(d1).clamp_min_(1e-8), self.threat.size(d2).clamp_min_(1e-8)
        alpha = per_example((s1 / (s1 + s2)).clamp_(max=self.alpha_max), a.x)
        z = (a.z + self.eta * d1) * (1 - alpha) + (a.x + self.eta * d2) * alpha
        a.set(z=z.clamp_(0, 1))
