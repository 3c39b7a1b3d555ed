"""One step along the steepest direction."""

from dataclasses import dataclass

from torch import Tensor

from semirobust.attacks import ATTACKS
from semirobust.attacks.base.active import all_rows
from semirobust.attacks.base.attack import AbstractBallAttack
from semirobust.attacks.base.goals import AbstractGoal, gradient
from semirobust.core.seed import Seed

__all__ = ["FGSM"]


@ATTACKS.register("fgsm")
@dataclass(frozen=True)
class FGSM(AbstractBallAttack):
    """x_adv = restrict(x + epsilon * steepest(gradient of the loss at x)).

    Under l-infinity this is the fast gradient sign method (Goodfellow et al., "Explaining and Harnessing
    Adversarial Examples", 2015, section 4). Weak: it belongs beside a stronger attack, not in place of one.

    Args:
        threat: the perturbations allowed.
    """

    @property
    def name(self) -> str:
        return "fgsm"

    @property
    def cost(self) -> int:
        return 2

    def search(self, goal: AbstractGoal, x: Tensor, seed: Seed) -> Tensor:
        grad, _, _ = gradient(goal, x, all_rows(x))
        return self.threat.restrict(x, x + self.threat.epsilon * self.threat.ascent(grad))
