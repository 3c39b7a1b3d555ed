"""One long step from a random point."""

from dataclasses import dataclass

from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.attacks.base.goals import AbstractGoal
from semirobust.attacks.pgd import PGD
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed

__all__ = ["RandomFGSM"]


@ATTACKS.register("fgsm-rs")
@dataclass(frozen=True)
class RandomFGSM(AbstractBallAttack):
    """x_adv = restrict(x + u + factor * epsilon * steepest(gradient at x + u)), u uniform in the ball.

    The inner maximisation of Fast-AT (Wong et al. 2020, algorithm 3) and of CLAT(Fast). For training only: it
    is too weak to evaluate with, and training against it can collapse to a network that is robust to this
    attack alone, so validate with a stronger one.

    Args:
        threat: the perturbations allowed.
        factor: length of the step in radii; 1.25 in the authors' script (10/255 at 8/255).
    """

    factor: float = 1.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.factor > 0:
            raise InputError(f"factor: expected a positive number of radii, got {self.factor}")

    @property
    def name(self) -> str:
        return "fgsm-rs"

    @property
    def cost(self) -> int:
        return 2

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        length = self.factor * self.threat.epsilon
        return PGD(self.threat, steps=1, step_size=length or None).search(goal, x, seed)
