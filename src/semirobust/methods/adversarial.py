"""Continued adversarial training of all layers."""

from dataclasses import dataclass

from semirobust.methods import METHODS
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives import AbstractObjective
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.trainable import All

__all__ = ["ContinuedAdversarial"]

_ADVERSARIAL = Adversarial()


@METHODS.register("adversarial")
@dataclass(frozen=True)
class ContinuedAdversarial(AbstractMethod):
    """PGD-AT of all layers continues (Madry et al. 2018), or the objective that trained the base: the control
    at equal budget.

    Args:
        objective: what training minimises and the attack maximises.
    """

    objective: AbstractObjective = _ADVERSARIAL

    def plan(self, context: Context) -> Plan:
        return Plan(self.objective, All())
