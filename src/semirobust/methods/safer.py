"""SAFER: sharpness-aware fine-tuning of the sharpest layers alone."""

from dataclasses import dataclass, field, replace

from semirobust.methods import METHODS
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives import AbstractObjective
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.hooks.sam import SAM

__all__ = ["SharpnessAwareFineTuning"]

_ADVERSARIAL = Adversarial()


@METHODS.register("safer")
@dataclass(frozen=True)
class SharpnessAwareFineTuning(AbstractMethod):
    """PGD-AT by sharpness-aware minimisation of the k sharpest layers, chosen anew every 10 epochs; the
    others are frozen.

    Source: SAFER (Gopal et al. 2025), for vision transformers; 5 % of the layers and 10 epochs are the
    paper's. Its measure of sharpness could not be established: ours is
    :class:`semirobust.measures.sharpness.Sharpness`. With ``rho = 0`` this is ``selected`` by sharpness.

    Args:
        choice: which layers train.
        rho: as in :class:`semirobust.training.hooks.sam.SAM`.
        objective: what training minimises and the attack maximises.
    """

    choice: LayerChoice = field(default_factory=lambda: LayerChoice(criterion="sharpness"))
    rho: float = 0.05
    objective: AbstractObjective = _ADVERSARIAL

    def plan(self, context: Context) -> Plan:
        return Plan(self.objective, self.choice.trainable(context), hooks=(SAM(self.rho),))

    def with_random_layers(self) -> "SharpnessAwareFineTuning":
        return replace(self, choice=self.choice.at_random())
