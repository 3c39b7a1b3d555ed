"""Ending runs of a search early that are too far from their aim to reach it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from semirobust.attacks.base.active import AbstractActive
from semirobust.attacks.base.sight import Tally
from semirobust.core.seed import Seed

__all__ = ["AbstractEarlyEnd", "EarlyEnd", "LevelledOff", "Stalled"]

# Step -> how many radii away the nearest point of a run may be there for the run to go on. In no run seen so
# far that could end did the nearest point come nearer afterwards by a factor of more than 2.3, 1.3, 1.2
# and 1.2.
_FAR = {10: 3.0, 20: 1.7, 30: 1.5, 50: 1.3}
# Behind saturated logits few runs cross the boundary at all, and what they find then comes nearer by factors
# of up to 57. So none ends where fewer than this share have crossed, nor one whose point came nearer by more
# than this factor in the second half of its steps.
_CROSSED, _NEARER = 0.5, 2.0
# Fraction of the steps -> how many times its rise until there a run may lack to go on. In no run seen so far
# that lacked more, and whose gradient was of use, did the steps left make up more than 22, 49 and 13 % of it.
_LEVEL = {0.1: 2.0, 0.22: 1.0, 0.41: 0.5}
# Fraction of the queries -> how many times what its margin fell in the second half of them may be left of it
# for a run to go on. Of none seen so far, of which more was left, did the margin fall by more than 40, 35, 34
# and 23 % of that.
_STALL = {0.2: 8.0, 0.3: 6.0, 0.4: 4.0, 0.6: 3.0}
# Of fewer steps or queries none is ended.
_STEPS, _QUERIES = 50, 1000
# Who rose by less than this share of what was promised goes on, and where an audited run made up more than
# that share of what it lacked, those that ended start again.
_HONEST, _MADE_UP = 0.1, 0.5
# Share of the runs that go on whatever their distance, and the least number of those that would end: of runs
# along gradients, of which an example has several, and of runs of a random search.
_AUDITED, _LEAST, _LEAST_RANDOM = 0.05, 10, 2


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
        least: how many of those that would end go on at least.
    """

    def __init__(self, steps: Iterable[int], n: int, seed: Seed, device: torch.device, *, least: int) -> None:
        self._order = torch.rand(n, generator=seed.generator(device), device=device).argsort().argsort()
        self._audited = self._order < math.ceil(_AUDITED * n)
        self._lacking = torch.tensor(least, device=device)  # of the least number
        self.steps = tuple(steps)
        # How much each had to gain when it ended, or would have, and after which step.
        self._need = torch.full((n,), torch.inf, device=device)
        self._step = torch.full((n,), -1, device=device)

    @property
    def first(self) -> int:
        """The step at which the first runs end."""
        return min(self.steps)

    def _ends(self, step: int, rows: Tensor, far: Tensor, need: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the runs ``rows`` end of those that are too ``far`` and ``need`` so much: (n,) each. And
        which did, or would have, for the first time.
        """
        new = far & torch.isinf(self._need[rows])
        drawn = new & self._audited[rows]
        others = new & ~drawn
        self._lacking = self._lacking - drawn.sum()
        place = torch.where(others, self._order[rows], len(self._order)).argsort().argsort()
        more = others & (place < self._lacking)
        self._audited[rows] |= more
        self._lacking = self._lacking - more.sum()
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
        for step in self.steps:
            at_step = self._step == step
            most = torch.where(audited & at_step, gain, 0).amax()
            in_reach |= at_step & (self._need <= most)
        rows = (ended & in_reach & ~done).nonzero().flatten()
        counts = (begun, int(ended.sum()) - len(rows), int(audited.sum()), int(missed.sum()))
        return rows, Tally(*counts)


class EarlyEnd(AbstractEarlyEnd):
    """Ends runs that are so far outside a ball that the steps left will not bring them in.

    A minimum-norm search comes near its end quickly and then gains little by little. A run ends early where
    its nearest point is several radii away after 10, 20, 30 or 50 steps, and has not come much nearer in the
    second half of these. None does where most have found no point across the boundary. What a run needs is a
    factor by which its point comes nearer.

    Args:
        n: runs.
        radius: of the ball.
        seed, device: as above.
    """

    def __init__(self, n: int, radius: float, seed: Seed, device: torch.device) -> None:
        super().__init__(_FAR, n, seed, device, least=_LEAST)
        self._radius = radius
        # Half of the steps -> how far the nearest point of each run was then.
        self._half = {step // 2: torch.full((n,), torch.inf, device=device) for step in _FAR}

    def after(self, step: int, a: AbstractActive, distance: Tensor) -> bool:
        """End the runs among ``a`` whose nearest point is too far, by the ``distance`` (n,) of all runs; True
        if none is left.
        """
        if step in self._half:
            self._half[step][a.rows] = distance[a.rows].to(self._half[step])
        if step not in _FAR:
            return False
        need, crossed = distance[a.rows] / self._radius, torch.isfinite(distance[a.rows])
        level = self._half[step // 2][a.rows] <= _NEARER * distance[a.rows]
        far = (need > _FAR[step]) & crossed & level & (crossed.double().mean() >= _CROSSED)
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

    Most of what an ascent gains it gains in its first steps. A run ends early where it still lacks several
    times what it has risen of late. Those that ended are held to half of what they lack. Who has not risen by
    a tenth of what was promised at its start goes on: it may be misled, or stand still for now.

    Args:
        limits: step -> how many times its rise a run may lack there to go on.
        n, seed, device, least: as above.
    """

    def __init__(
        self,
        limits: Mapping[int, float],
        n: int,
        seed: Seed,
        device: torch.device,
        *,
        least: int,
    ) -> None:
        super().__init__(limits, n, seed, device, least=least)
        self._limits = limits
        unknown = torch.full((n,), torch.nan, device=device)
        # Where each began and what was promised, how high it was when it would have ended, and how high it
        # was at the end of its steps.
        self._start, self._promise = unknown, unknown.clone()
        self._height, self._highest = unknown.clone(), unknown.clone()
        self._reached = torch.zeros(n, dtype=torch.bool, device=device)

    @classmethod
    def of_ascents(cls, n: int, steps: int, seed: Seed, device: torch.device) -> "LevelledOff | None":
        """For n runs of so many gradient steps: where they lack 2, 1 and 0.5 times their rise since the start
        after a tenth, 22 % and 41 % of them. None where these are too few to level off in.
        """
        limits = {int(part * steps): limit for part, limit in _LEVEL.items()}
        return cls(limits, n, seed, device, least=_LEAST) if steps >= _STEPS else None

    def begin(self, rows: Tensor, height: Tensor, promise: Tensor) -> None:
        """The runs ``rows`` begin at these heights, and such rises are promised: (n,) each."""
        self._start[rows], self._promise[rows] = height.to(self._start), promise.to(self._start)

    def after(self, step: int, rows: Tensor, height: Tensor, since: Tensor | None = None) -> Tensor:
        """Which of the runs ``rows`` end after this step, by the greatest heights that they reached, and
        those ``since`` which their rise counts, by default where they began: (n,) each.
        """
        rise = height - (self._start[rows] if since is None else since)
        honest = (rise > 0) & (height - self._start[rows] >= _HONEST * self._promise[rows])
        far = honest & (-height > self._limits[step] * rise) & torch.isfinite(height)
        ends, new = self._ends(step, rows, far, torch.full_like(rise, _MADE_UP))
        self._height[rows] = torch.where(new, height.to(self._height), self._height[rows])
        return ends

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


class Stalled:
    """Ends runs of a random search whose margin has all but stopped falling, far above 0.

    The margin falls about as the logarithm of the queries. A run ends early where, after 20, 30, 40 or 60 %
    of its queries, 8, 6, 4 or 3 times as much is left of its margin as it fell in the second half of these,
    and it has fallen by a tenth of what it was. Audited as :class:`LevelledOff`, its height the margin's
    negative; those that ended go on from where they were.

    Args:
        margin: (n,) of all runs at their start.
        queries: of each.
        seed: draws which go on.
    """

    def __init__(self, margin: Tensor, queries: int, seed: Seed) -> None:
        limits = {int(part * queries): limit for part, limit in _STALL.items()}
        self._early = LevelledOff(limits, len(margin), seed, margin.device, least=_LEAST_RANDOM)
        self._early.begin(torch.arange(len(margin), device=margin.device), -margin, margin)
        marks = sorted({*limits, *(step // 2 for step in limits)})
        self._steps = [(marks.index(step), step, marks.index(step // 2)) for step in limits]
        self._marks = torch.tensor([*marks, queries + 1], device=margin.device)
        # How many marks each has passed, its margin at each of them, and its query when it ended.
        self._passed = torch.zeros(len(margin), dtype=torch.long, device=margin.device)
        self._margins = torch.full((len(margin), len(marks)), torch.nan, device=margin.device)
        self.query = torch.zeros_like(self._passed)

    @staticmethod
    def fits(queries: int) -> bool:
        """Whether so many queries are enough to tell."""
        return queries >= _QUERIES

    def after(self, rows: Tensor, query: Tensor, margin: Tensor) -> Tensor:
        """Which of the runs ``rows`` end, by their next ``query`` and their ``margin``: (n,) each."""
        ends = torch.zeros_like(rows, dtype=torch.bool)
        due = (query >= self._marks[self._passed[rows]]).nonzero().flatten()
        if len(due) == 0:
            return ends
        rows, margin, mark = rows[due], margin[due], self._passed[rows[due]]
        self._margins[rows, mark], self._passed[rows], self.query[rows] = margin, mark + 1, query[due]
        for here, step, half in self._steps:
            at = (mark == here).nonzero().flatten()
            ends[due[at]] = self._early.after(step, rows[at], -margin[at], -self._margins[rows[at], half])
        return ends

    def again(self, margin: Tensor) -> tuple[Tensor, Tally]:
        """Which runs must go on, and what came of it, by the margins (n,) of all at the end."""
        rows = torch.arange(len(margin), device=margin.device)
        self._early.reach(rows, margin < 0)
        self._early.end(rows, -margin)
        return self._early.again(margin < 0)
