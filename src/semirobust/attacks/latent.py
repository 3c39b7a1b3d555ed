"""An attack on the feature of an inner layer, brought back to the image."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semirobust.attacks import ATTACKS
from semirobust.attacks.base.active import Best
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.attacks.base.goals import AbstractGoal, Fool, expect_fool
from semirobust.attacks.base.gradients import input_gradient
from semirobust.attacks.base.losses import cross_entropy
from semirobust.core.checks import dtype_of
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.layers.features import channel_range, forward_to
from semirobust.layers.map import layer_map
from semirobust.layers.split import split
from semirobust.threats.base.ball import norms, per_example

__all__ = ["LatentAttack"]

_ROOM = 0.1  # by so much of the highest value a feature may exceed it


@ATTACKS.register("latent", pattern=r"latent(?:-(?P<layer>\d+))?")
@dataclass(frozen=True)
class LatentAttack(AbstractBallAttack):
    """Attacks the feature h of layer j, f = G after F_j, then seeks an image with that feature.

    On h: h <- clamp(h + feature_step * range * sign(grad CE(G(h), y))), from F_j(x_adv). On the image: m <- m
    + g / ||g||_1, x_adv <- restrict(x_adv + step_size * steepest(m)), g = grad -||h - F_j(x_adv)||_1.

    Source: Latent Attack (LA; Singh et al. 2019), read from its authors' code. Each round does both, from
    where the image is and with m = 0. h stays within the values of its channel over the batch, and up to a
    tenth above the highest; of tokens, within those of its position (ours). Theirs takes these values anew in
    each round; ours are those of the clean images. Their step on h is 0.01 whatever the scale of h; ours is
    that share of the range. Of the rounds that mislead, or of all where none does, the one of highest cross
    entropy counts (ours). Theirs keeps the first that misleads, and else the clean image. Other norms than
    l-infinity are ours.

    The verdict is on the output of the network, as for every attack. This one looks at a single layer, and
    mostly leaves more examples than PGD does: it says how much of the weakness of that layer can be reached
    from the image. With one step of each, on a layer that passes the image on, it is PGD without a random
    start.

    Args:
        threat: the perturbations allowed.
        layer: j, from 1; another layer must come behind it. Their released setting is the first convolution.
        rounds: of both searches.
        steps: on the image in a round.
        step_size: of a step on the image in pixel units; None for epsilon / 16, theirs at 8/255.
        feature_steps: on the feature in a round.
        feature_step: of a step on the feature, as a fraction of the range of its channel.
    """

    layer: int = 1
    rounds: int = 15
    steps: int = 40
    step_size: float | None = None
    feature_steps: int = 10
    feature_step: float = 0.01

    def __post_init__(self) -> None:
        AbstractBallAttack.__post_init__(self)
        if min(self.layer, self.rounds, self.steps, self.feature_steps) < 1:
            given = f"{self.layer}, {self.rounds}, {self.steps} and {self.feature_steps}"
            raise InputError(f"layer, rounds, steps and feature_steps: expected at least 1, got {given}")
        if self.step_size is not None and not self.step_size > 0:
            raise InputError(f"step_size: expected a positive length in pixel units, got {self.step_size}")
        if not self.feature_step > 0:
            raise InputError(f"feature_step: expected more than 0, got {self.feature_step}")

    @property
    def name(self) -> str:
        return f"latent-{self.layer}"

    @property
    def cost(self) -> int:
        return self.rounds * 2 * (self.steps + self.feature_steps + 1)

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        goal = expect_fool(goal, self.name)
        if goal.network is None:
            raise InputError(f"{self.name}: expected a network, whose layers it attacks")
        inside = _Inside(goal.network, self.layer, x)
        best, x_adv, frame = Best(x), x.clone(), self.threat.frame(x)
        for _ in range(self.rounds):
            rows = best.open_rows(early_exit=goal.early_exit)
            if len(rows) == 0:
                break
            points = x_adv[rows]
            aim = self._aim(inside, points, goal.y[rows])
            points = self._approach(inside, goal, rows, points, aim, tuple(part[rows] for part in frame))
            with torch.no_grad():
                loss, reached = goal(points, rows)
            best.keep(rows, points, loss, reached)
            x_adv[rows] = points
        return best.x_adv

    def _aim(self, inside: "_Inside", x_adv: Tensor, y: Tensor) -> Tensor:
        """A feature near that of ``x_adv`` (n, ...) that misleads what is behind it."""
        start, behind = inside.cut(x_adv)
        point, step = start, self.feature_step * (inside.high - inside.low)
        for _ in range(self.feature_steps):
            with torch.enable_grad():
                point = point.detach().requires_grad_()
                gradient = input_gradient(cross_entropy(behind(point), y), point)
            moved = point.detach() + step * gradient.nan_to_num(0).sign()
            point = moved.clamp(inside.low, inside.high + _ROOM * inside.high.abs())
        return point.detach()

    def _approach(
        self,
        inside: "_Inside",
        goal: Fool,
        rows: Tensor,
        x_adv: Tensor,
        aim: Tensor,
        frame: tuple[Tensor, ...],
    ) -> Tensor:
        """Images in the ball whose feature is nearer to ``aim``."""
        step = self.threat.epsilon / 16 if self.step_size is None else self.step_size
        momentum = torch.zeros_like(x_adv)
        for _ in range(self.steps):
            with torch.enable_grad():
                z = x_adv.detach().requires_grad_()
                gradient = input_gradient(-inside.distance(z, aim), z)
            gradient = goal.see(gradient, rows)
            length = norms(gradient, 1).clamp_min(torch.finfo(gradient.dtype).tiny)
            momentum = momentum + gradient / per_example(length, gradient)
            x_adv = self.threat.restrict_in(frame, step * self.threat.ascent(momentum) + x_adv)
        return x_adv


class _Inside:
    """The feature of one layer and what is behind it, as numbers of the precision of the images.

    Attributes:
        low, high: the lowest and highest value of each channel over the clean images ``x`` (N, ...).
    """

    def __init__(self, model: nn.Module, index: int, x: Tensor) -> None:
        self._dtype = dtype_of(model, x.dtype)  # which is half where the images were, and ``x`` is in full
        self._model, self._layers = model, layer_map(model, x.to(self._dtype))
        self._index, self._layer = index, self._layers.at(index)
        self._prefix, self._suffix = split(model, self._layers, index)
        with torch.no_grad():
            self.low, self.high = channel_range(self._feature(x))

    def _feature(self, x: Tensor) -> Tensor:
        found = forward_to(self._model, self._layers, x.to(self._dtype), self._index)
        return found[self._index].to(x.dtype)

    def cut(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The feature of ``x`` (n, ...), and what gives the logits (n, C) of another in its place."""
        with torch.no_grad():
            cut = self._prefix(x.to(self._dtype))

        def behind(feature: Tensor) -> Tensor:
            return self._suffix(cut, feature.to(self._dtype)).to(x.dtype)

        return cut.feature.to(x.dtype), behind

    def distance(self, x: Tensor, aim: Tensor) -> Tensor:
        """||aim - F_j(x)||_1 of each example: (n,)."""
        return self._layer.per_example(aim - self._feature(x), len(x)).abs().sum(1)
