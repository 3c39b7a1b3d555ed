"""Norm balls."""

import math
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from semirobust.core.devices import costs_a_wait
from semirobust.core.errors import InputError
from semirobust.core.numerals import as_real
from semirobust.core.seed import Seed
from semirobust.threats.base.threat import AbstractThreat, in_pixel_range

__all__ = ["AbstractBall"]

HALF = (torch.float16, torch.bfloat16)
_SECANTS = 60
_LOOKS = 4  # turns from one look at a device to the next


@dataclass(frozen=True)
class AbstractBall(AbstractThreat):
    """Delta(x) = {delta : ||delta||_p <= epsilon and x + delta in [0, 1]}.

    Args:
        epsilon: the radius, in pixel units where 1 is the whole range; 0 allows nothing.
        insist: take a radius that reaches every image in [0, 1] from every other, which is refused else,
            since it is nearly always a number from 0 to 255.

    Attributes:
        sparse: the perturbations that gain most change few values, so auto-PGD takes sparse steps and starts
            from larger balls.
        search_order: p of the norm, for which random search with squares is defined (1, 2 or infinity); None
            where it is not, and then such attacks refuse the ball.
    """

    sparse: ClassVar[bool] = False
    search_order: ClassVar[float | None] = None

    epsilon: float
    insist: bool = field(default=False, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        radius = as_real(self.epsilon)
        if radius is None or not (math.isfinite(radius) and radius >= 0):
            raise InputError(f"epsilon: expected a finite number of at least 0, got {self.epsilon!r}")
        object.__setattr__(self, "epsilon", radius)

    def check_radius(self, x: Tensor) -> None:
        """Raise ``InputError`` where all images shaped like those of ``x`` (N, ...) lie in the ball, and
        nobody insisted on that.
        """
        if self.insist or self.epsilon < (whole := self.whole(x)):
            return
        meant = f"; did you mean {self.epsilon:g}/255?" if self.epsilon <= 255 else "."
        raise InputError(
            f"epsilon: expected a radius below {whole:.4g}, from where on the {self.norm} ball holds every"
            f" image with pixels from 0 to 1; got {self.epsilon:g}{meant} It is taken with"
            f" {type(self).__name__}({self.epsilon:g}, insist=True), on the command line with --insist-eps"
        )

    def resized(self, epsilon: float) -> Self:
        """The ball of another radius, whatever it is."""
        return replace(self, epsilon=epsilon, insist=True)

    @property
    @abstractmethod
    def norm(self) -> str:
        """Its norm as printed, such as ``Linf``."""

    @abstractmethod
    def size(self, delta: Tensor) -> Tensor:
        """||delta||_p of each example: (N, ...) -> (N,)."""

    @abstractmethod
    def dual(self, gradient: Tensor) -> Tensor:
        """max_d <d, gradient> s.t. ||d||_p <= 1, of each example: (N, ...) -> (N,)."""

    @abstractmethod
    def project_ball(self, delta: Tensor) -> Tensor:
        """argmin_d ||d - delta||_2 s.t. ||d||_p <= epsilon, of each example."""

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """argmax_d <d, gradient> s.t. ||d||_p <= 1, of each example; 0 where the gradient is 0."""

    def ascent(self, gradient: Tensor) -> Tensor:
        """The direction of length 1 in which plain gradient ascent steps: the steepest, unless the norm says
        otherwise.
        """
        return self.steepest(gradient)

    @abstractmethod
    def to_hyperplane(self, t: Tensor, w: Tensor, c: Tensor) -> Tensor:
        """argmin_d ||d||_p s.t. <w, d> = c and t + d in [0, 1], of each example; as far as it goes where that
        is out of reach.

        Args:
            t: (N, ...) points in [0, 1].
            w: (N, ...) normals.
            c: (N,) what <w, d> must be.
        """

    @abstractmethod
    def sample(self, x: Tensor, seed: Seed) -> Tensor:
        """Uniform points of the ball of radius epsilon, shaped like ``x``."""

    @property
    def reach(self) -> float:
        """The radius to which points are brought: a little less than epsilon, so that whoever adds up the
        change in single precision, in whatever order, finds it within epsilon.
        """
        return self.epsilon * (1 - 2**-18)

    def tightened(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """``x_adv`` moved towards ``x`` where rounding left it outside the ball, by as little as brings it
        inside in exact arithmetic and in the precision of the images.
        """
        for power in range(-18, 1):
            rows = (~self._inside(x, x_adv)).nonzero().flatten()
            if len(rows) == 0:
                break
            near, far = (part[rows].float() if x.dtype in HALF else part[rows] for part in (x, x_adv))
            nearer = near + (far - near) * (1 - 2.0**power)
            x_adv = x_adv.clone()
            x_adv[rows] = _round_towards(near, nearer, x.dtype) if x.dtype in HALF else nearer
        return x_adv

    def _inside(self, x: Tensor, x_adv: Tensor) -> Tensor:
        own = self.size(x_adv - x).double() <= self.epsilon
        # Sums in single precision differ by their order.
        slack = 0 if x.dtype in HALF or self.search_order == math.inf else 2**-19
        return own & (self.size(_precise(x_adv) - _precise(x)) <= self.epsilon * (1 - slack))

    def restrict(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """Bring ``x_adv`` into the ball around ``x`` and into [0, 1].

        In half precision the last rounding could leave the ball, so it is done towards x.
        """
        if x.dtype not in HALF:
            return self.project(x, x_adv)
        exact, inner = x.float(), self.resized(below(self.epsilon, x.dtype))
        return self.tightened(x, _round_towards(exact, inner.project(exact, x_adv.float()), x.dtype))

    def project(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """:meth:`restrict` without the care for half precision.

        Clamping moves every coordinate towards x, which lies in [0, 1], so the result stays in the ball.
        """
        return (x + self.project_ball(x_adv - x)).clamp_(0, 1)

    def whole(self, x: Tensor) -> float:
        """The radius at which every pixel of images like ``x`` (N, ...) is free: the largest distance between
        two images in [0, 1].
        """
        return float(self.size(torch.ones_like(x[:1], dtype=torch.float64, device="cpu")))

    def frame(self, x: Tensor) -> tuple[Tensor, ...]:
        """What :meth:`restrict_in` needs of ``x``, for a loop that restricts often."""
        return (x,)

    def restrict_in(self, frame: tuple[Tensor, ...], x_adv: Tensor) -> Tensor:
        """:meth:`restrict` around the x of ``frame``; may overwrite ``x_adv``."""
        return self.restrict(frame[0], x_adv)

    def contains(self, x: Tensor, x_adv: Tensor, *, tolerance: float = 1e-5) -> Tensor:
        """Whether each example is in the ball (up to a relative ``tolerance`` for rounding) and in [0, 1]."""
        slack = self.epsilon * tolerance + 1e-6
        return (self.size(_precise(x_adv) - _precise(x)) <= self.epsilon + slack) & in_pixel_range(x_adv)

    def __str__(self) -> str:
        as_255 = self.epsilon * 255
        shown = (
            f"{as_255:.0f}/255"
            if abs(as_255 - round(as_255)) < 1e-6 and self.epsilon < 0.25
            else f"{self.epsilon:g}"
        )
        return f"{self.norm} {shown}"


def room(t: Tensor, direction: Tensor) -> Tensor:
    """How far each coordinate of ``t`` can go inside [0, 1] in its direction, which is +1 or -1."""
    return (0.5 - t).mul_(direction).add_(0.5)


def fill(space: Tensor, weight: Tensor, pace: Tensor | None, goal: Tensor) -> Tensor:
    """The m (N,) at which sum_i weight_i min(m pace_i, space_i) = goal, for (N, D) values of at least 0; far
    where there is none.

    The sum is concave in m, so the secant method from 0 climbs to the root and never past it, in three or
    four steps. Rows that need more continue alone.

    Args:
        pace: (N, D), or None for 1 everywhere.
    """
    rate = weight if pace is None else weight * pace
    total = rate.sum(1)
    result = torch.where(total > 0, goal / total, 0).nan_to_num_(0, 0, 0)
    if costs_a_wait(result):
        return _filled_by_schedule(space, weight, pace, goal, result)
    rows, m = torch.arange(len(space), device=space.device), result.clone()
    before, below = torch.zeros_like(m), torch.zeros_like(m)
    for _ in range(_SECANTS):
        length = m[:, None] if pace is None else m[:, None] * pace
        reached = torch.minimum(space, length).mul_(weight).sum(1)
        missing, growth_rate = goal - reached, (reached - below) / (m - before)
        growth = torch.where(growth_rate > 0, missing / growth_rate, 0).clamp_min_(0).nan_to_num_(0, 0, 0)
        before, below, m = m, reached, m + growth
        result[rows] = m
        going = growth > 1e-5 * m
        left = int(going.sum())
        if left == 0:
            break
        if 2 * left < len(rows):
            keep = going.nonzero().flatten()
            rows, m, goal, before, below, space, weight = (
                v[keep] for v in (rows, m, goal, before, below, space, weight)
            )  # fmt: skip
            pace = None if pace is None else pace[keep]
    return result


def _filled_by_schedule(
    space: Tensor, weight: Tensor, pace: Tensor | None, goal: Tensor, m: Tensor
) -> Tensor:
    """:func:`fill` from its first guess ``m`` (N,), to the same numbers, with a look every fourth time.

    Rows that would no longer be there are kept as they are.
    """
    before, below, inside = torch.zeros_like(m), torch.zeros_like(m), torch.ones_like(m, dtype=torch.bool)
    for turn in range(1, _SECANTS + 1):
        length = m[:, None] if pace is None else m[:, None] * pace
        reached = torch.minimum(space, length).mul_(weight).sum(1)
        missing, growth_rate = goal - reached, (reached - below) / (m - before)
        growth = torch.where(growth_rate > 0, missing / growth_rate, 0).clamp_min_(0).nan_to_num_(0, 0, 0)
        before, below, m = (
            torch.where(inside, new, old) for new, old in ((m, before), (reached, below), (m + growth, m))
        )
        going = inside & (growth > 1e-5 * m)
        left = going.sum()
        inside = torch.where(2 * left < inside.sum(), going, inside) & (left > 0)
        if turn % _LOOKS == 0 and not bool(inside.any()):
            break
    return m


def _precise(x: Tensor) -> Tensor:
    return (
        x.float() if x.device.type == "mps" else x.double()
    )  # Apple's graphics processors have no double precision


def below(epsilon: float, dtype: torch.dtype) -> float:
    """The largest number of this precision that is at most ``epsilon``."""
    number = float(torch.tensor(epsilon, dtype=dtype))
    gap = torch.finfo(dtype).eps * 2.0 ** (math.frexp(number)[1] - 1)
    return number if number <= epsilon else number - gap


def _round_towards(x: Tensor, x_adv: Tensor, dtype: torch.dtype) -> Tensor:
    """``x_adv`` in a half precision, each value rounded so that it comes no farther from ``x``: no norm
    grows.
    """
    rounded = x_adv.to(dtype).float()
    _, exponent = torch.frexp(rounded)
    gap = torch.ldexp(torch.full_like(rounded, torch.finfo(dtype).eps), exponent - 1)
    farther = (rounded - x).abs() > (x_adv - x).abs()
    return torch.where(farther, rounded - gap * (rounded - x).sign(), rounded).to(dtype)


def per_example(values: Tensor, like: Tensor) -> Tensor:
    """(N,) -> (N, 1, ..., 1) with as many dimensions as ``like``."""
    return values.view(-1, *(1,) * (like.dim() - 1))


def random_signs(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """-1 and +1 with equal chances, on the device and in the precision of ``like``."""
    return torch.randint(0, 2, shape, generator=generator, device=like.device).to(like.dtype).mul_(2).sub_(1)


def norms(x: Tensor, order: float) -> Tensor:
    """p-norm of each example over all its values: (N, ...) -> (N,)."""
    values = flat(x)
    if order == 2:
        return torch.linalg.vector_norm(values, dim=1)
    # On a CPU the other orders of vector_norm are ten times slower than this.
    return values.abs().amax(1) if order == torch.inf else values.abs().sum(1)


def flat(x: Tensor) -> Tensor:
    """All values of each example in a row, in the order in which they lie in memory: (N, ...) -> (N, D)
    without a copy.
    """
    if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).flatten(1)
    return x.flatten(1)
