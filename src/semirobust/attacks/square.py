"""Random search with squares; needs no gradient."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.active import Active, all_rows
from semirobust.attacks.base import AbstractAttack
from semirobust.attacks.goals import AbstractGoal, Mislead
from semirobust.attacks.losses import margin
from semirobust.errors import InputError
from semirobust.seed import Seed
from semirobust.threats.base import per_example
from semirobust.threats.l2 import L2
from semirobust.threats.linf import Linf

__all__ = ["Square"]

# Queries (of 10,000) after which the share of the image that a square covers is halved again.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@ATTACKS.register("square", pattern=r"square(?:-(?P<queries>\d+))?")
@dataclass(frozen=True)
class Square(AbstractAttack):
    """Tries a square of random place and colour at the edge of the ball, and keeps it where the margin falls.

    Under l-infinity a square sets its window to +-epsilon; under l2 it moves the mass of one window into another,
    shaped like two opposed pyramids. The side shrinks with the number of queries. Source: Andriushchenko et al. 2020,
    algorithms 1 to 3; place and side are drawn once for all examples of a batch, as in the authors' code.

    Args:
        threat: the perturbations allowed (l-infinity or l2).
        queries: forward passes for each example.
        p_init: share of the image that the first squares cover.
        restarts: independent runs.
        rescale: stretch the course of the side over the queries; AutoAttack does not.
    """

    queries: int = 5000
    p_init: float = 0.8
    restarts: int = 1
    rescale: bool = False

    def __post_init__(self) -> None:
        AbstractAttack.__post_init__(self)
        if min(self.queries, self.restarts) < 1 or not 0 < self.p_init <= 1:
            raise InputError("queries, restarts and p_init: expected at least 1, at least 1, and a share in (0, 1]")
        if not isinstance(self.threat, Linf | L2):
            raise InputError(f"square: expected an l-infinity or l2 threat, got {self.threat}")

    @property
    def name(self) -> str:
        return "square"

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        if x.dim() != 4:
            raise InputError(f"square: expected images (N, K, H, W), got shape {tuple(x.shape)}")
        if not isinstance(goal, Mislead):
            raise InputError("square: expected a classifier to mislead; it cannot raise other losses")
        best, lowest = x.clone(), torch.full((len(x),), torch.inf, device=x.device)
        for restart in range(self.restarts):
            rows = (lowest >= 0).nonzero().flatten() if goal.leave else all_rows(x)
            if len(rows) == 0:
                break
            found, value = self._run(goal, x[rows], rows, (seed / restart).generator(x.device))
            better = (value < lowest[rows]).nonzero().flatten()
            best[rows[better]], lowest[rows[better]] = found[better], value[better]
        return best

    def _run(self, goal: Mislead, x: Tensor, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One run: the best point and its margin z_y - max z_k, negative where misclassified."""
        result = self._start(x, generator)
        lowest = _margin(goal, result, rows)
        a = Active(all_rows(x), x=x, rows_of=rows, best=result.clone(), margin=lowest.clone())
        if a.drop(lowest < 0):  # who is misclassified needs no further query, in either form
            return result, lowest
        for query in range(self.queries):
            side = self._side(query, x.shape[2:])
            window, candidate = self._propose(a, side, generator)
            kept = a.best[window].clone() if isinstance(self.threat, Linf) else a.best
            point = a.best
            if isinstance(self.threat, Linf):
                point[window] = candidate  # only the window changes; put back below where it did not help
            else:
                point = candidate
            value = _margin(goal, point, a.rows_of)
            better = value < a.margin
            if isinstance(self.threat, Linf):
                a.best[window] = torch.where(per_example(better, kept), candidate, kept)
            else:
                a.set(best=torch.where(per_example(better, point), point, kept))
            a.set(margin=torch.where(better, value, a.margin))
            done = a.margin < 0
            if bool(done.any()):
                result[a.rows[done]], lowest[a.rows[done]] = a.best[done], a.margin[done]
                if a.drop(done):
                    return result, lowest
        result[a.rows], lowest[a.rows] = a.best, a.margin
        return result, lowest

    def _side(self, query: int, size: torch.Size) -> int:
        scaled = int(query / self.queries * 10_000) if self.rescale else query
        share = self.p_init / 2 ** sum(scaled > limit for limit in _HALVINGS)
        side = round(math.sqrt(share * size[0] * size[1]))
        if isinstance(self.threat, L2):
            side = max(side, 3)
            side += 1 - side % 2
        return min(max(side, 1), *size)

    def _start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        n, k, h, w = x.shape
        if isinstance(self.threat, Linf):  # vertical stripes
            return (x + self.threat.epsilon * _signs((n, k, 1, w), x, generator)).clamp_(0, 1)
        delta, side = torch.zeros_like(x), max(h // 5, 1)
        first = (h - side * 5) // 2 if h >= 5 else 0
        for top in range(first, h - side + 1, side):
            for left in range(first, w - side + 1, side):
                colours = _signs((n, k, 1, 1), x, generator)
                delta[:, :, top : top + side, left : left + side] += _pyramids(side, x, generator) * colours
        return self._to_sphere(x, delta)

    def _propose(self, a: Active, side: int, generator: torch.Generator) -> tuple[tuple[slice, ...], Tensor]:
        """Where something changes, and the new values there (l-infinity) or the whole new point (l2)."""
        n, k, h, w = a.x.shape
        window = _window(side, h, w, a.x, generator)
        if isinstance(self.threat, Linf):
            colours = 2 * self.threat.epsilon * _signs((1, k, 1, 1), a.x, generator)
            x = a.x[window]
            moved = (a.best[window] + colours).clamp_(min=x - self.threat.epsilon, max=x + self.threat.epsilon)
            return window, moved.clamp_(0, 1)
        other = _window(side, h, w, a.x, generator)
        delta = a.best - a.x
        both = torch.zeros((1, 1, h, w), device=a.x.device, dtype=a.x.dtype)
        both[window], both[other] = 1, 1
        unused = (self.threat.epsilon**2 - self.threat.size(delta) ** 2).clamp_min(0)
        mass = ((delta * both) ** 2).sum((2, 3), keepdim=True)
        old = delta[window]
        shape = _pyramids(side, a.x, generator) * _signs((n, k, 1, 1), a.x, generator) + old / (_length(old) + 1e-12)
        delta[other] = 0
        delta[window] = shape / (_length(shape) + 1e-12) * (per_example(unused, a.x) / k + mass).sqrt()
        return window, self._to_sphere(a.x, delta)

    def _to_sphere(self, x: Tensor, delta: Tensor) -> Tensor:
        scale = self.threat.epsilon / (self.threat.size(delta) + 1e-12)
        return (x + delta * per_example(scale, x)).clamp_(0, 1)


def _margin(goal: Mislead, point: Tensor, rows: Tensor) -> Tensor:
    """z_y - max z_k, below 0 just where the verdict is that the example is misclassified."""
    with torch.no_grad():
        logits, y = goal.model(point), goal.y[rows]
        value = -margin(logits, y).float()
        wrong, tiny = goal.misled(logits, point, y), torch.finfo(torch.float32).tiny
        return torch.where(wrong, value.clamp(max=-tiny), value.clamp(min=0))


def _window(side: int, height: int, width: int, x: Tensor, generator: torch.Generator) -> tuple[slice, ...]:
    top = int(torch.randint(0, height - side + 1, (1,), generator=generator, device=x.device))
    left = int(torch.randint(0, width - side + 1, (1,), generator=generator, device=x.device))
    return slice(None), slice(None), slice(top, top + side), slice(left, left + side)


def _signs(shape: tuple[int, ...], x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator, device=x.device).to(x.dtype).mul_(2).sub_(1)


def _length(window: Tensor) -> Tensor:
    return (window**2).sum((2, 3), keepdim=True).sqrt()


def _pyramids(side: int, x: Tensor, generator: torch.Generator) -> Tensor:
    """Two opposed pyramids that fill a window, of unit length, lying or standing: (1, 1, side, side)."""
    upper = side // 2
    shape = torch.cat([_pyramid(upper, side, x), -_pyramid(side - upper, side, x)])
    shape = shape / (shape.norm() + 1e-12)
    turned = bool(torch.randint(0, 2, (1,), generator=generator, device=x.device))
    return (shape.T if turned else shape)[None, None]


def _pyramid(height: int, width: int, x: Tensor) -> Tensor:
    """Sum of rectangles that grow from the middle, the r-th of weight 1/r^2."""
    shape = torch.zeros(height, width, device=x.device, dtype=x.dtype)
    top, left = height // 2, width // 2
    for r in range(max(height // 2 + 1, width // 2 + 1)):
        shape[max(top - r, 0) : max(top + r + 1, 0), max(left - r, 0) : max(left + r + 1, 0)] += 1 / (r + 1) ** 2
    return shape / (shape.norm() + 1e-12)
