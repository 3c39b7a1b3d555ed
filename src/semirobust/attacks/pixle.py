"""Random search with rearranged pixels; needs no gradient."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.base.active import AbstractActive, all_rows, runs_per_batch
from semirobust.attacks.base.attack import AbstractAttack
from semirobust.attacks.base.goals import AbstractGoal, Fool, expect_fool
from semirobust.core.checks import check_images
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.threats.base.ball import per_example
from semirobust.threats.rearrangement import Rearrangement

__all__ = ["Pixle"]


@dataclass
class _Images(AbstractActive):
    """Clean images, the best rearrangement of each and its loss."""

    rows: Tensor
    x: Tensor
    best: Tensor
    loss: Tensor


@ATTACKS.register("pixle")
@dataclass(frozen=True)
class Pixle(AbstractAttack):
    """Copies the pixels of a random patch to random places, and keeps the best of several tries in each
    round.

    A try is kept where it lowers the probability of the true class, -log softmax(z)_y being the loss. Source:
    Pomponi et al. 2022, algorithm 1 with random mapping; sizes and numbers of tries are those of its authors.
    Ours: all tries of a round, and all examples, in one batch; places are drawn without repetition.

    Args:
        rounds: the best try of a round is where the next one starts.
        tries: in each round; each costs one forward pass.
        smallest, largest: side of the patch in pixels, drawn for height and width apart.
    """

    pictures: ClassVar[bool] = True
    uses_gradients: ClassVar[bool] = False

    threat: Rearrangement = field(init=False, default=Rearrangement())
    rounds: int = 20
    tries: int = 10
    smallest: int = 2
    largest: int = 10

    def __post_init__(self) -> None:
        AbstractAttack.__post_init__(self)
        if min(self.rounds, self.tries, self.smallest) < 1 or self.largest < self.smallest:
            raise InputError(
                "rounds, tries, smallest and largest: expected at least 1, and largest not below smallest"
            )

    @property
    def name(self) -> str:
        return "pixle"

    @property
    def cost(self) -> int:
        return self.rounds * self.tries

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        check_images(x, "pixle")
        goal = expect_fool(goal, "pixle")
        generator = seed.generator(x.device)
        result = x.clone()
        with torch.no_grad():
            loss, reached = goal(x, all_rows(x))
        assert reached is not None
        a = _Images(all_rows(x), x=x, best=x.clone(), loss=loss)
        if a.drop(reached):
            return result
        for _ in range(self.rounds):
            base, done = a.best.clone(), torch.zeros_like(a.rows, dtype=torch.bool)
            left = self.tries
            while left:
                count = runs_per_batch(goal.batch_rows, len(a), left)
                done |= self._try(goal, a, base, count, generator)
                left -= count
            result[a.rows] = a.best
            if a.drop(done):
                break
        return result

    def _try(self, goal: Fool, a: _Images, base: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """``count`` tries of each example from ``base``: keeps the best. Which examples are fooled: (n,)."""
        n = len(a)
        candidates = self._rearranged(torch.cat([a.x] * count), torch.cat([base] * count), generator)
        with torch.no_grad():
            loss, reached = goal(candidates, a.rows.repeat(count))
        assert reached is not None
        value = torch.where(reached, torch.inf, loss).view(count, n)
        highest, which = value.max(0)
        better = highest > a.loss
        chosen = candidates.view(count, n, *a.x.shape[1:])[which, torch.arange(n, device=which.device)]
        a.best = torch.where(per_example(better, base), chosen, a.best)
        a.loss = torch.where(better, highest, a.loss)
        return a.loss == torch.inf

    def _rearranged(self, source: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        """``target`` (M, K, H, W) with the pixels of a random patch of each ``source`` put to random
        places.
        """
        m, k, h, w = source.shape
        draw = torch.rand((4, m, 1), generator=generator, device=source.device)
        sides = [(self.smallest + (draw[i] * (self.largest - self.smallest + 1)).long()) for i in (0, 1)]
        rows, columns = (side.clamp(max=length) for side, length in zip(sides, (h, w), strict=True))
        top, left = (draw[2] * (h - rows + 1)).long(), (draw[3] * (w - columns + 1)).long()
        width, size = min(self.largest, w), min(self.largest, h) * min(self.largest, w)
        i = torch.arange(size, device=source.device)
        inside = (i // width < rows) & (i % width < columns)
        origin = torch.where(
            inside, (top + i // width).clamp(max=h - 1) * w + (left + i % width).clamp(max=w - 1), 0
        )
        places = torch.rand((m, h * w), generator=generator, device=source.device).argsort(1)[:, :size]
        # Moves that lie outside the patch go to one place more, which is cut off.
        places = torch.where(inside, places, h * w)[:, None].expand(-1, k, -1)
        moved = source.reshape(m, k, h * w).gather(2, origin[:, None].expand(-1, k, -1))
        padded = torch.cat([target.reshape(m, k, h * w), target.new_zeros(m, k, 1)], 2).scatter(
            2, places, moved
        )
        return padded[:, :, : h * w].reshape(m, k, h, w).contiguous()
