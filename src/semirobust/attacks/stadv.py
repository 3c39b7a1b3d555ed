"""Spatially transformed examples: pixels move instead of changing their colour."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.base.active import AbstractActive, Best, all_rows, looks
from semirobust.attacks.base.attack import AbstractAttack
from semirobust.attacks.base.goals import AbstractGoal, Fool, gradient
from semirobust.attacks.base.gradients import input_gradient
from semirobust.core.checks import check_images
from semirobust.core.errors import InputError
from semirobust.core.margin import margin
from semirobust.core.seed import Seed
from semirobust.threats.base.ball import per_example
from semirobust.threats.flow import Flow

__all__ = ["StAdv"]

_MOMENTS = (0.9, 0.999)
_START = 0.1


@dataclass
class _Flows(AbstractActive):
    """Clean images, the flow of each, its gradient, and Adam's two moments of that.

    All but the images are (n, 2, H, W).
    """

    rows: Tensor
    x: Tensor
    flow: Tensor
    gradient: Tensor
    mean: Tensor
    square: Tensor


@ATTACKS.register("stadv", pattern=r"stadv(?:-(?P<steps>\d+))?")
@dataclass(frozen=True)
class StAdv(AbstractAttack):
    """Ascends margin(warp(x, flow)) in the flow, from near 0; while an example fools the model its flow is
    made smoother instead.

    margin = max_{k != y} z_k - z_y; flow (N, 2, H, W) in pixels; smoother means a smaller sum_i sum_{j next
    to i} ||flow_i - flow_j||_2. Each example succeeds by itself: it keeps the smoothest flow that fooled the
    model, and the one of highest margin where none did. Source: Xiao et al. 2018, equations 2 to 4. Ours: the
    bound on the displacement, without which every model is fooled in the end; the order of the two aims in
    place of their weighted sum, whose weight would decide how strong the attack is; Adam on the whole batch
    in place of L-BFGS.

    Args:
        steps: each costs one forward and one backward pass.
        limit: largest displacement of a pixel in each direction, in pixels.
        rate: Adam's step in pixels.
    """

    pictures: ClassVar[bool] = True
    threat: Flow = field(init=False)
    steps: int = 100
    limit: float = 0.3
    rate: float = 0.1

    def __post_init__(self) -> None:
        AbstractAttack.__post_init__(self)
        object.__setattr__(self, "threat", Flow(self.limit))
        if self.steps < 1 or not self.rate > 0:
            raise InputError("steps and rate: expected at least 1, and above 0")

    @property
    def name(self) -> str:
        return "stadv" if self.steps == 100 else f"stadv-{self.steps}"

    @property
    def cost(self) -> int:
        return 2 * self.steps

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        check_images(x, "stadv")
        if isinstance(goal, Fool):
            goal = replace(goal, loss=margin)
        # At a flow of 0 bilinear interpolation sees one pixel; next to it the gradient sees both neighbours.
        uniform = torch.rand(
            (len(x), 2, *x.shape[2:]), generator=seed.generator(x.device), device=x.device, dtype=x.dtype
        )
        flow = (2 * uniform - 1) * _START * self.limit
        zero = torch.zeros_like(flow)
        best, a = Best(x), _Flows(all_rows(x), x=x, flow=flow, gradient=zero, mean=zero, square=zero)
        for step in range(self.steps + 1):
            x_adv, a.gradient, loss, unevenness, reached = self._gradient(goal, a)
            # A success beats none; among successes the smoothest, else the highest loss.
            open_rows = ~best.reached[a.rows] if goal.early_exit else None
            best.keep(a.rows, x_adv, torch.where(reached, -unevenness, loss), reached, among=open_rows)
            if goal.early_exit and looks(x, step) and a.drop(best.reached[a.rows]):
                break
            if step < self.steps:
                self._move(a, step + 1)
        return best.x_adv

    def _gradient(self, goal: AbstractGoal, a: _Flows) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The warped images, the gradient in the flow, the goal's loss, the flow's unevenness, and who
        reached the goal.
        """
        flow = a.flow.detach().requires_grad_()
        with torch.enable_grad():
            x_adv = self.threat.warp(a.x, flow)
            inner, loss, reached = gradient(goal, x_adv, a.rows)
            reached = torch.zeros_like(loss, dtype=torch.bool) if reached is None else reached
            unevenness = _unevenness(flow)
            aims = torch.where(reached, -unevenness, (x_adv * inner).flatten(1).sum(1))
            grad = input_gradient(aims, flow)
        return x_adv.detach(), grad, loss, unevenness.detach(), reached

    def _move(self, a: _Flows, step: int) -> None:
        """One step of Adam, each example by itself: its gradient is first divided by its largest value."""
        largest = a.gradient.abs().flatten(1).amax(1).clamp_min(torch.finfo(a.x.dtype).tiny)
        scaled = a.gradient / per_example(largest, a.gradient)
        a.mean = a.mean.lerp(scaled, 1 - _MOMENTS[0])
        a.square = a.square.lerp(scaled**2, 1 - _MOMENTS[1])
        mean, square = a.mean / (1 - _MOMENTS[0] ** step), a.square / (1 - _MOMENTS[1] ** step)
        a.flow = (a.flow + self.rate * (mean / (square.sqrt() + 1e-8))).clamp_(-self.limit, self.limit)


def _unevenness(flow: Tensor) -> Tensor:
    """Sum over neighbouring pixels of the length of the difference of their flows: (N, 2, H, W) -> (N,)."""
    down, right = flow[:, :, 1:] - flow[:, :, :-1], flow[:, :, :, 1:] - flow[:, :, :, :-1]
    # The root has no gradient at 0, where the flow starts.
    return sum(((part**2).sum(1) + 1e-10).sqrt().flatten(1).sum(1) for part in (down, right)) + 0 * flow.sum(
        (1, 2, 3)
    )
