"""LAT: latent adversarial training."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from semirobust.core.errors import InputError
from semirobust.methods import METHODS
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.latent import Latent
from semirobust.training.trainable import Marked

__all__ = ["LatentAdversarial"]


@METHODS.register("lat")
@dataclass(frozen=True)
class LatentAdversarial(AbstractMethod):
    """PGD-AT of all layers, and of those behind an inner layer on its perturbed feature.

    Source: Singh et al. 2019 ("Harnessing the vulnerability of latent layers in adversarially trained
    models"). Their code attacks one layer, chosen by hand. Here it is the most vulnerable one by
    ``sustainability``, chosen once, where none is given.

    Args:
        choice: which layer is attacked; all layers train.
        weight, epsilon, step_size, steps: as in :class:`semirobust.objectives.latent.Latent`.
    """

    trains_all: ClassVar[bool] = True

    choice: LayerChoice = field(default_factory=lambda: LayerChoice(criterion="sustainability", k=1, every=0))
    weight: float = 0.2
    epsilon: float = 8 / 255
    step_size: float = 1 / 255
    steps: int = 20

    def plan(self, context: Context) -> Plan:
        if self.choice.trains != "layer":
            raise InputError(f"trains: expected layer, since all layers train; got {self.choice.trains!r}")
        chosen = self.choice.trainable(context, by_feature=True)
        return Plan(Latent(self.weight, self.epsilon, self.step_size, self.steps), Marked(chosen))

    def with_random_layers(self) -> "LatentAdversarial":
        return replace(self, choice=self.choice.at_random())
