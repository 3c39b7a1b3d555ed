"""More adversarial training of everything."""

from dataclasses import dataclass

from semirobust.methods import METHODS
from semirobust.methods.base import AbstractMethod, Context, Plan
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.trainable import All

__all__ = ["ContinuedAdversarial"]


@METHODS.register("adversarial")
@dataclass(frozen=True)
class ContinuedAdversarial(AbstractMethod):
    """PGD-AT of all layers goes on (Madry et al. 2018): the control at equal budget."""

    def plan(self, context: Context) -> Plan:
        return Plan(Adversarial(), All())
