"""Adversarial training that regularises the latter layers alone."""

from dataclasses import dataclass

from semirobust.methods import METHODS
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives import AbstractObjective
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.hooks.latter_awp import LatterAWP
from semirobust.training.hooks.latter_rate import LatterRate
from semirobust.training.trainable import All

__all__ = ["LatterRegularised"]

_ADVERSARIAL = Adversarial()


@METHODS.register("latter")
@dataclass(frozen=True)
class LatterRegularised(AbstractMethod):
    """Adversarial training of all layers; the latter ones under perturbed weights, or at another rate.

    Source: Nguyen et al. 2024 ("On intriguing layer-wise properties of robust overfitting in adversarial
    training", TMLR). With ``gamma = 0`` and ``factor = 1`` it is plain adversarial training.

    Args:
        share, gamma: as in :class:`semirobust.training.hooks.latter_awp.LatterAWP`.
        factor: as in :class:`semirobust.training.hooks.latter_rate.LatterRate`.
        objective: what training minimises and the attack maximises.
    """

    share: float = 0.25
    gamma: float = 0.01
    factor: float = 1.0
    objective: AbstractObjective = _ADVERSARIAL

    def plan(self, context: Context) -> Plan:
        hooks = (LatterAWP(self.share, self.gamma), LatterRate(self.share, self.factor))
        return Plan(self.objective, All(), hooks=hooks)
