"""Ending runs of a search early that are too far from their aim to reach it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor

from semirobust.attacks.base.active import AbstractActive
from semirobust.attacks.base.sight import Tally
from semirobust.core.seed import Seed

__all__ = ["AbstractEarlyEnd", "EarlyEnd", "LevelledOff"]

# Step -> how many radii away the nearest point of a run may be there for the run to go on. In no run seen so
# far did the nearest point come nearer afterwards by a factor of more than 2.3, 1.1, 1.1 and 1.1.
_FAR = {10: 3.0, 20: 1.7, 30: 1.5, 50: 1.3}
# Fraction of the steps -> how many times its rise until there a run may lack to go on. In no run seen so far
# that lacked more, and whose gradient was of use, did the steps left make up more than 22, 49 and 13 % of it.
_LEVEL = {0.1: 2.0, 0.22: 1.0, 0.41: 0.5}
# Of fewer steps none is ended. Who rose by less than this share of what its gradient promised goes on, and
# where an audited run made up more than that share of what it lacked, those that ended start again.
_ENOUGH, _HONEST, _MADE_UP = 50, 0.1, 0.5
# Share of the runs that go on whatever their distance, and the least number.
_AUDITED, _LEAST = 0.05, 2


class AbstractEarlyEnd(ABC):
    """Ends runs that need more than the steps left will bring.

    A few of them go on all the same. The most that one of those gained afterwards is what those that ended at
    the same step are held to: who would have reached its aim by it starts again and runs to its end. Where
    one of those that went on reached it, or there was none, all do. Our own idea.

    Args:
        steps: at which runs end.
        n: runs.
        seed: draws which go on.
        device: of the runs.
    """

    def __init__(self, steps: Iterable[int], n: int, seed: Seed, device: torch.device) -> None:
        order = torch.rand(n, generator=seed.generator(device), device=device).argsort()
        self._audited = torch.zeros(n, dtype=torch.bool, device=device)
        self._audited[order[: max(_LEAST, math.ceil(_AUDITED * n))]] = True
        self._steps = tuple(steps)
        # How much each had to gain when it ended, or would have, and after which step.
        self._need = torch.full((n,), torch.inf, device=device)
        self._step = torch.full((n,), -1, device=device)

    @property
    def first(self) -> int:
        """The step at which the first runs end."""
        return min(self._steps)

    def _ends(self, step: int, rows: Tensor, far: Tensor, need: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the runs ``rows`` end of those that are too ``far`` and ``need`` so much: (n,) each. And
        which did, or would have, for the first time.
        """
        new = far & torch.isinf(self._need[rows])
        self._need[rows] = torch.where(new, need.to(self._need), self._need[rows])
        self._step[rows] = torch.where(new, step, self._step[rows])
        return far & ~self._audited[rows], new

    @abstractmethod
    def _gain(self, end: Tensor) -> Tensor:
        """What each of all runs gained since it ended, or would have, by where it is at the ``end``: (n,)."""

    def _judged(self, end: Tensor, reached: Tensor, done: Tensor, begun: int) -> tuple[Tensor, Tally]:
        """Which runs must start again, and what came of it: where all runs are at the ``end``, whether each
        ``reached`` its aim, and whether its example is ``done``.
        """
        gain, would_end = self._gain(end), torch.isfinite(self._need)
        audited, ended = would_end & self._audited, would_end & ~self._audited
        missed = audited & reached
        in_reach = (missed.any() | ~audited.any()).expand(len(ended)).clone()
        for step in self._steps:
            at_step = self._step == step
            most = torch.where(audited & at_step, gain, 0).amax()
            in_reach |= at_step & (self._need <= most)
        rows = (ended & in_reach & ~done).nonzero().flatten()
        counts = (begun, int(ended.sum()) - len(rows), int(audited.sum()), int(missed.sum()))
        return rows, Tally(*counts)


class EarlyEnd(AbstractEarlyEnd):
    """Ends runs that are so far outside a ball that the steps left will not bring them in.

    A minimum-norm search comes near its end quickly and then gains little by little. A run ends early where
    its nearest point is several radii away after 10, 20, 30 or 50 steps. What it needs is a factor by which
    that point comes nearer.

    Args:
        n: runs.
        radius: of the ball.
        seed, device: as above.
    """

    def __init__(self, n: int, radius: float, seed: Seed, device: torch.device) -> None:
        super().__init__(_FAR, n, seed, device)
        self._radius = radius

    def after(self, step: int, a: AbstractActive, distance: Tensor) -> bool:
        """End the runs among ``a`` whose nearest point is too far, by the ``distance`` (n,) of all runs; True
        if none is left.
        """
        if step not in _FAR:
            return False
        need = distance[a.rows] / self._radius
        far = (need > _FAR[step]) & torch.isfinite(need)
        return a.drop(self._ends(step, a.rows, far, need)[0])

    def again(self, distance: Tensor, done: Tensor) -> tuple[Tensor, Tally]:
        """Which runs must start again, and what came of it.

        Args:
            distance: (n,) of all runs at the end.
            done: (n,) whether a run's example needs no further run.
        """
        return self._judged(distance, distance <= self._radius, done, len(distance))

    def _gain(self, end: Tensor) -> Tensor:
        return (self._need / (end.float() / self._radius)).nan_to_num(0)


class LevelledOff(AbstractEarlyEnd):
    """Ends ascents that have levelled off far below 0, where they would reach their aim.

    Most of what an ascent gains it gains in its first steps. A run ends early where, after a tenth, 22 % or
    41 % of its steps, it still lacks 2, 1 or 0.5 times what it has risen since its start. Those that ended
    are held to half of what they lack. Who has not risen by a tenth of what the gradient at its start
    promised goes on: it may be misled, or stand still for now.

    Args:
        n: runs.
        steps: of each.
        seed, device: as above.
    """

    def __init__(self, n: int, steps: int, seed: Seed, device: torch.device) -> None:
        self._limits = {int(part * steps): limit for part, limit in _LEVEL.items()}
        super().__init__(self._limits, n, seed, device)
        unknown = torch.full((n,), torch.nan, device=device)
        # Where each began and what its gradient promised, how high it was when it would have ended, and how
        # high it was at the end of its steps.
        self._start, self._promise = unknown, unknown.clone()
        self._height, self._highest = unknown.clone(), unknown.clone()
        self._reached = torch.zeros(n, dtype=torch.bool, device=device)

    @staticmethod
    def fits(steps: int) -> bool:
        """Whether so many steps are enough for a run to level off in."""
        return steps >= _ENOUGH

    def begin(self, rows: Tensor, height: Tensor, promise: Tensor) -> None:
        """The runs ``rows`` begin at these heights, and the gradients there promise a rise: (n,) each."""
        self._start[rows], self._promise[rows] = height.to(self._start), promise.to(self._start)

    def after(self, step: int, a: AbstractActive, height: Tensor) -> bool:
        """End the runs among ``a`` that have levelled off, by the greatest heights (n,) that they reached;
        True if none is left.
        """
        if step not in self._limits:
            return False
        rise = height - self._start[a.rows]
        honest = (rise > 0) & (rise >= _HONEST * self._promise[a.rows])
        far = honest & (-height > self._limits[step] * rise) & torch.isfinite(height)
        ends, new = self._ends(step, a.rows, far, torch.full_like(rise, _MADE_UP))
        self._height[a.rows] = torch.where(new, height.to(self._height), self._height[a.rows])
        return a.drop(ends)

    def reach(self, rows: Tensor, reached: Tensor) -> None:
        """Which of the runs ``rows`` (n,) ``reached`` (n,) their aim."""
        self._reached[rows] |= reached

    def end(self, rows: Tensor, height: Tensor) -> None:
        """The runs ``rows`` (n,) came to the end of their steps; these heights (n,) were their greatest."""
        self._highest[rows] = height.to(self._highest)

    def again(self, done: Tensor) -> tuple[Tensor, Tally]:
        """Which runs must start again, and what came of it, by whether a run's example needs no further run:
        (n,).
        """
        return self._judged(self._highest, self._reached, done, int((~self._start.isnan()).sum()))

    def _gain(self, end: Tensor) -> Tensor:
        return ((end - self._height) / -self._height).nan_to_num(0)
