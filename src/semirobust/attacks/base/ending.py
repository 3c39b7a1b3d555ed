"""Ending runs of a search early that are too far from their aim to reach it."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.attacks.base.active import AbstractActive
from semirobust.attacks.base.sight import Tally
from semirobust.core.seed import Seed

__all__ = ["EarlyEnd"]

# Step -> how many radii away the nearest point of a run may be there for the run to go on. In no run seen so
# far did the nearest point come nearer afterwards by a factor of more than 2.3, 1.1, 1.1 and 1.1.
_FAR = {10: 3.0, 20: 1.7, 30: 1.5, 50: 1.3}
# Share of the runs that go on whatever their distance, and the least number.
_AUDITED, _LEAST = 0.05, 2


class EarlyEnd:
    """Ends runs that are so far outside a ball that the steps left will not bring them in.

    A minimum-norm search comes near its end quickly and then gains little by little. A run ends early where
    its nearest point is several radii away after 10, 20, 30 or 50 steps. A few go on all the same. The
    largest factor by which one of those came nearer is what those that ended at the same step are held to:
    who would have come in by it starts again and runs to its end. Where one of those that went on came in,
    all do. Our own idea.

    Args:
        n: runs.
        radius: of the ball.
        seed: draws which go on.
        device: of the runs.
    """

    first: ClassVar[int] = 1 + min(_FAR)
    """Steps after which the first runs have ended."""

    def __init__(self, n: int, radius: float, seed: Seed, device: torch.device) -> None:
        order = torch.rand(n, generator=seed.generator(device), device=device).argsort()
        self._audited = torch.zeros(n, dtype=torch.bool, device=device)
        self._audited[order[: max(_LEAST, math.ceil(_AUDITED * n))]] = True
        self._radius = radius
        # How far each was when it ended, or would have, and after which step.
        self._left = torch.full((n,), torch.inf, device=device)
        self._step = torch.full((n,), -1, device=device)

    def after(self, step: int, a: AbstractActive, distance: Tensor) -> bool:
        """End the runs among ``a`` whose nearest point is too far, by the ``distance`` (n,) of all runs; True
        if none is left.
        """
        if step not in _FAR:
            return False
        far = (distance[a.rows] > _FAR[step] * self._radius) & torch.isfinite(distance[a.rows])
        first = a.rows[far & torch.isinf(self._left[a.rows])]
        self._left[first], self._step[first] = distance[first].float(), step
        return a.drop(far & ~self._audited[a.rows])

    def again(self, distance: Tensor, done: Tensor) -> tuple[Tensor, Tally]:
        """Which runs must start again, and what came of it.

        Args:
            distance: (n,) of all runs at the end.
            done: (n,) whether a run's example needs no further run.
        """
        would_end = torch.isfinite(self._left)
        audited, ended = would_end & self._audited, would_end & ~self._audited
        missed = audited & (distance <= self._radius)
        in_reach = missed.any().expand(len(ended)).clone()
        for step in _FAR:
            at_step = self._step == step
            gain = torch.where(audited & at_step, self._left / distance.float(), 1).amax()
            in_reach |= at_step & (self._left <= self._radius * gain)
        rows = (ended & in_reach & ~done).nonzero().flatten()
        counts = (len(would_end), int(ended.sum()) - len(rows), int(audited.sum()), int(missed.sum()))
        return rows, Tally(*counts)
