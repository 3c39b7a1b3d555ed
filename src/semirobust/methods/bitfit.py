"""BitFit: adversarial fine-tuning of biases alone."""

from dataclasses import dataclass, field, replace

from semirobust.core.errors import InputError
from semirobust.methods import METHODS
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives import AbstractObjective
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.trainable import Fixed

__all__ = ["BitFit"]

_ADVERSARIAL = Adversarial()


@METHODS.register("bitfit")
@dataclass(frozen=True)
class BitFit(AbstractMethod):
    """PGD-AT of the biases of all layers, those of norms among them; everything else is frozen.

    Source: Zaken et al. 2022, for transformers. They also train a new classifier; ours has been trained, so
    of it, too, the bias alone trains. Batch norm keeps its statistics.

    Args:
        choice: the layers whose biases train; all of them where neither ``layers`` nor ``k`` is given.
        objective: what training minimises and the attack maximises.
    """

    choice: LayerChoice = field(default_factory=lambda: LayerChoice(trains="biases"))
    objective: AbstractObjective = _ADVERSARIAL

    def plan(self, context: Context) -> Plan:
        if self.choice.trains != "biases":
            raise InputError(f"trains: expected biases; got {self.choice.trains!r}")
        everything = self.choice.layers is None and self.choice.k is None and self.choice.share is None
        trainable = Fixed(context.layers.indices, "biases") if everything else self.choice.trainable(context)
        return Plan(self.objective, trainable)

    def with_random_layers(self) -> "BitFit":
        return replace(self, choice=self.choice.at_random())
