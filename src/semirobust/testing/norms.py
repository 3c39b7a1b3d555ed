"""What every norm ball must do."""

import torch
from torch import Tensor

from semirobust.core.seed import Seed, as_seed
from semirobust.testing.base.check import Subject, demanded, require
from semirobust.threats import AbstractBall

__all__: list[str] = []

_EPSILON = 0.5


def _ball(subject: Subject, epsilon: float = _EPSILON) -> AbstractBall:
    ball: AbstractBall = subject.make({"epsilon": epsilon, "insist": epsilon >= 1})
    return ball


def _points(seed: int, n: int = 60, size: int = 6) -> Tensor:
    return 2 * torch.randn(n, size, generator=as_seed(seed).generator(), dtype=torch.float64)


@demanded("norms")
def projection_is_onto_the_ball(subject: Subject) -> None:
    """Project into the ball, leave what is inside, and bring no two points further apart."""
    ball = _ball(subject)
    u, v = _points(1), _points(2)
    pu, pv = ball.project_ball(u), ball.project_ball(v)
    require(float(ball.size(pu).max()) <= _EPSILON + 1e-12, "a projection is outside")
    require(torch.allclose(ball.project_ball(pu), pu, atol=1e-12), "projecting twice is not projecting once")
    nearer = (pu - pv).norm(dim=1) <= (u - v).norm(dim=1) + 1e-12
    require(nearer.all(), "two points are further apart after the projection")


@demanded("norms")
def projection_is_the_nearest_point(subject: Subject) -> None:
    """Project to the nearest point: no sample of the ball is nearer."""
    ball, u = _ball(subject), _points(3, 20)
    distance = (ball.project_ball(u) - u).norm(dim=1)
    inside = ball.sample(torch.zeros(400, 6, dtype=torch.float64), Seed(("check",)))
    others = torch.cdist(u, inside).min(1).values
    require((distance <= others + 1e-9).all(), "a point of the ball is nearer than the projection")


@demanded("norms")
def steepest_is_the_best_direction(subject: Subject) -> None:
    """Give the direction of size 1 along which a gradient rises most, and 0 for a gradient of 0."""
    unit = _ball(subject, 1.0)
    gradient = _points(4, 1, 8)
    best = unit.steepest(gradient)
    require(abs(float(unit.size(best)) - 1) < 1e-5, "the steepest direction has not the size 1")
    gain = float((best * gradient).sum())
    others = unit.sample(torch.zeros(500, 8, dtype=torch.float64), Seed(("check",)))
    require(float((others * gradient).sum(1).max()) <= gain + 1e-5, "another direction gains more")
    require(abs(float(unit.dual(gradient)) - gain) < 1e-5, "the dual norm is not what the direction gains")
    require(not unit.steepest(torch.zeros(2, 8)).any(), "a gradient of 0 has a direction")


@demanded("norms")
def restriction_ends_in_ball_and_pixels(subject: Subject) -> None:
    """Bring any point into the ball and into [0, 1] at once."""
    ball = _ball(subject)
    x = torch.rand(50, 2, 3, 3, generator=as_seed(5).generator())
    x[:10] = 0
    moved = x + 2 * torch.randn(x.shape, generator=as_seed(6).generator())
    require(ball.contains(x, ball.restrict(x, moved)).all(), "a restricted point is outside")
    require(not ball.contains(x, x + 1).any(), "contains takes a point outside of [0, 1]")


@demanded("norms")
def samples_are_of_their_seed(subject: Subject) -> None:
    """Draw points of the ball, equal ones for equal seeds."""
    ball, x = _ball(subject), torch.zeros(3, 4)
    first = ball.sample(x, Seed(("one",)))
    require(float(ball.size(first).max()) <= _EPSILON + 1e-6, "a sample is outside")
    require(torch.equal(first, ball.sample(x, Seed(("one",)))), "equal seeds draw different points")
    require(not torch.equal(first, ball.sample(x, Seed(("two",)))), "all seeds draw the same points")
