"""AT-LR: adversarial training that holds the most vulnerable layers still."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from semirobust.core.errors import InputError
from semirobust.methods import METHODS
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.at_lr import LayerRegularised
from semirobust.training.trainable import Marked

__all__ = ["LayerRegularisedTraining"]


@METHODS.register("at-lr")
@dataclass(frozen=True)
class LayerRegularisedTraining(AbstractMethod):
    """PGD-AT of all layers with the relative error of the most vulnerable ones as a further term.

    Source: Khalooei et al. 2022. Their list of most vulnerable layers comes from an analysis before the
    training; here it is the top k by ``sustainability``, chosen once. How they cut the list could not be
    established, so 5 % of the layers are our choice.

    Args:
        choice: which layers are held still; all layers train.
        weight: as in :class:`semirobust.objectives.at_lr.LayerRegularised`.
    """

    trains_all: ClassVar[bool] = True

    choice: LayerChoice = field(default_factory=lambda: LayerChoice(criterion="sustainability", every=0))
    weight: float = 1.0

    def plan(self, context: Context) -> Plan:
        if self.choice.trains != "layer":
            raise InputError(f"trains: expected layer, since all layers train; got {self.choice.trains!r}")
        chosen = self.choice.trainable(context, by_feature=True)
        return Plan(LayerRegularised(self.weight), Marked(chosen), collapse=0.5)

    def with_random_layers(self) -> "LayerRegularisedTraining":
        return replace(self, choice=self.choice.at_random())
