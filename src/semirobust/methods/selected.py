"""Adversarial training of chosen layers."""

from dataclasses import dataclass, field, replace

from semirobust.methods import METHODS
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.adversarial import Adversarial

__all__ = ["SelectedAdversarial"]


@METHODS.register("selected")
@dataclass(frozen=True)
class SelectedAdversarial(AbstractMethod):
    """Plain PGD-AT of the layers that CLAT would train: the control that separates its objective from its
    selection (ours).

    Args:
        choice: which layers train.
    """

    choice: LayerChoice = field(default_factory=LayerChoice)

    def plan(self, context: Context) -> Plan:
        return Plan(Adversarial(), self.choice.trainable(context))

    def with_random_layers(self) -> "SelectedAdversarial":
        return replace(self, choice=self.choice.at_random())
