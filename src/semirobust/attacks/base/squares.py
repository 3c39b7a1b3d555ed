"""The squares that random search proposes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from semirobust.core.devices import costs_a_wait
from semirobust.threats.base.ball import AbstractBall, per_example, random_signs

__all__ = ["Colours", "moved_mass", "square_side", "starting_pyramids"]

# Queries (of 10,000) after which the fraction of the image that a square covers is halved again.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def square_side(fraction: float, query: int, size: tuple[int, int], *, odd: bool) -> int:
    """Side of the square of a query; the first covers ``fraction`` of the image."""
    fraction /= 2 ** sum(query > limit for limit in _HALVINGS)
    side = round(math.sqrt(fraction * size[0] * size[1]))
    if odd:
        side = max(side, 3)
        side += 1 - side % 2
    return min(max(side, 1), *size)


class Colours:
    """The proposals under l-infinity: query q shifts one window by +-2 epsilon, by channel; drawn once, for
    all examples.
    """

    def __init__(self, x: Tensor, sides: Sequence[int], epsilon: float, generator: torch.Generator) -> None:
        _, k, h, w = x.shape
        side = torch.tensor(sides, device=x.device)
        place = torch.rand((2, len(sides)), generator=generator, device=x.device)
        self.sides, self.epsilon, self._side = sides, epsilon, side
        self.top, self.left = (place[0] * (h - side + 1)).long(), (place[1] * (w - side + 1)).long()
        self.rows, self.columns = _window(self.top, side, h, x.dtype), _window(self.left, side, w, x.dtype)
        self.shifts = 2 * epsilon * random_signs((len(sides), k), x, generator)

    def start(self, x: Tensor, frame: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        """Vertical stripes of +-epsilon."""
        stripes = self.epsilon * random_signs((len(x), x.shape[1], 1, x.shape[3]), x, generator)
        return (x + stripes).clamp_(*frame)

    def apply(self, best: Tensor, frame: tuple[Tensor, ...], query: Tensor) -> Tensor:
        """The points that the queries (m, n) propose from ``best`` (n, K, H, W): (m n, K, H, W)."""
        count = len(query)
        # One window for all, which is seen without waiting on a CPU alone.
        if count == 1 and not costs_a_wait(query) and bool((query == (first := int(query[0, 0]))).all()):
            top, left, side = int(self.top[first]), int(self.left[first]), self.sides[first]
            window = (slice(None), slice(None), slice(top, top + side), slice(left, left + side))
            point = best.clone()
            low, high = (part[window] for part in frame)
            point[window] = (best[window] + self.shifts[first].view(-1, 1, 1)).clamp_(low, high)
            return point
        q = query.flatten()
        low, high = frame
        if last := best.is_contiguous(memory_format=torch.channels_last) and not best.is_contiguous():
            best, low, high = (part.permute(0, 2, 3, 1) for part in (best, low, high))
        covered = self.rows[q][:, :, None] * self.columns[q][:, None, :]
        change = (
            covered[..., None] * self.shifts[q][:, None, None]
            if last
            else covered[:, None] * self.shifts[q][..., None, None]
        )
        point = change.view(count, *best.shape).add_(best).clamp_(low, high).flatten(0, 1)
        return point.permute(0, 3, 1, 2) if last else point

    def apply_each(
        self, best: Tensor, frame: tuple[Tensor, ...], rows: Tensor, query: Tensor, least: int
    ) -> Tensor:
        """The points that the queries (m,), none below ``least``, propose from the rows (m,) of ``best``:
        (m, K, H, W).

        Only the windows are computed; one smaller than the largest takes its last line again.
        """
        point, side = best[rows], self._side[query, None]
        least = least if costs_a_wait(query) else int(query.min())
        ahead = torch.arange(self.sides[least], device=rows.device)  # sides only shrink
        lines = self.top[query, None] + torch.minimum(ahead, side - 1)
        columns = self.left[query, None] + torch.minimum(ahead, side - 1)
        channels = torch.arange(best.shape[1], device=rows.device)
        place = channels[:, None, None], lines[:, None, :, None], columns[:, None, None, :]
        own, low, high = (part[rows[:, None, None, None], *place] for part in (best, *frame))
        window = (own + self.shifts[query][:, :, None, None]).clamp_(low, high)
        point[torch.arange(len(rows), device=rows.device)[:, None, None, None], *place] = window
        return point


def _window(first: Tensor, side: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """1 inside first..first + side - 1, else 0: (Q,) -> (Q, length)."""
    place = torch.arange(length, device=first.device)
    return ((place >= first[:, None]) & (place < (first + side)[:, None])).to(dtype)


def starting_pyramids(x: Tensor, threat: AbstractBall, generator: torch.Generator) -> Tensor:
    """A grid of five by five windows, each of two opposed pyramids."""
    n, k, h, w = x.shape
    delta, side, order = torch.zeros_like(x), max(h // 5, 1), _order(threat)
    first = (h - side * 5) // 2 if h >= 5 else 0
    for top in range(first, h - side + 1, side):
        for left in range(first, w - side + 1, side):
            colours = random_signs((n, k, 1, 1), x, generator)
            delta[:, :, top : top + side, left : left + side] += (
                _pyramids(side, x, order, generator) * colours
            )
    return _to_sphere(x, delta, threat)


def moved_mass(
    x: Tensor, best: Tensor, side: int, threat: AbstractBall, generator: torch.Generator
) -> Tensor:
    """``best`` with the mass of one window moved into another, and what is left of epsilon added."""
    n, k, h, w = x.shape
    order = _order(threat)
    window, other = _place(side, h, w, x, generator), _place(side, h, w, x, generator)
    delta = best - x
    both = torch.zeros((1, 1, h, w), device=x.device, dtype=x.dtype)
    both[window], both[other] = 1, 1
    unused = (threat.epsilon**order - threat.size(delta) ** order).clamp_min(0)
    mass = (delta * both).abs().pow(order).sum((2, 3), keepdim=True)
    old = delta[window]
    shape = _pyramids(side, x, order, generator) * random_signs((n, k, 1, 1), x, generator) + old / (
        _length(old, order) + 1e-12
    )
    delta[other] = 0
    # Under l1 the authors give each channel the mass of all, and the projection takes back what is too much.
    scale = k if order == 1 else 1
    delta[window] = (
        scale * shape / (_length(shape, order) + 1e-12) * (per_example(unused, x) / k + mass).pow(1 / order)
    )
    return _to_sphere(x, delta, threat)


def _order(threat: AbstractBall) -> float:
    assert threat.search_order is not None
    return threat.search_order


def _to_sphere(x: Tensor, delta: Tensor, threat: AbstractBall) -> Tensor:
    if _order(threat) == 1:  # what of the mass lies outside [0, 1] is cut, and the rest fitted into the ball
        return threat.restrict(x, x + delta)
    scale = threat.reach / (threat.size(delta) + 1e-12)
    return (x + delta * per_example(scale, x)).clamp_(0, 1)


def _place(side: int, height: int, width: int, x: Tensor, generator: torch.Generator) -> tuple[slice, ...]:
    top = int(torch.randint(0, height - side + 1, (1,), generator=generator, device=x.device))
    left = int(torch.randint(0, width - side + 1, (1,), generator=generator, device=x.device))
    return slice(None), slice(None), slice(top, top + side), slice(left, left + side)


def _length(window: Tensor, order: float) -> Tensor:
    return window.abs().pow(order).sum((2, 3), keepdim=True).pow(1 / order)


def _pyramids(side: int, x: Tensor, order: float, generator: torch.Generator) -> Tensor:
    """Two opposed pyramids that fill a window, of unit length, lying or standing: (1, 1, side, side)."""
    upper = side // 2
    shape = torch.cat([_pyramid(upper, side, x, order), -_pyramid(side - upper, side, x, order)])
    shape = shape / (shape.norm(order) + 1e-12)
    turned = bool(torch.randint(0, 2, (1,), generator=generator, device=x.device))
    return (shape.T if turned else shape)[None, None]


def _pyramid(height: int, width: int, x: Tensor, order: float) -> Tensor:
    """Sum of rectangles that grow from the middle, the r-th of weight 1/r^2, or 1/r^4 under l1."""
    shape = torch.zeros(height, width, device=x.device, dtype=x.dtype)
    top, left = height // 2, width // 2
    for r in range(max(height // 2 + 1, width // 2 + 1)):
        shape[max(top - r, 0) : max(top + r + 1, 0), max(left - r, 0) : max(left + r + 1, 0)] += (r + 1) ** (
            -4 / order
        )
    return shape / (shape.norm(order) + 1e-12)
