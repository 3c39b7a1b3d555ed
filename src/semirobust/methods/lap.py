"""LAP: adversarial training under layer-aware perturbations of the weights."""

from dataclasses import dataclass

from semirobust.methods import METHODS
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives import AbstractObjective
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.hooks.lap import LAP
from semirobust.training.trainable import All

__all__ = ["LayerAwarePerturbation"]

_ADVERSARIAL = Adversarial()


@METHODS.register("lap")
@dataclass(frozen=True)
class LayerAwarePerturbation(AbstractMethod):
    """Adversarial training of all layers, whose weights are perturbed, most in front (Lin et al. 2024).

    Made against catastrophic overfitting under an attack of one step, such as ``fgsm-rs``. With ``beta = 0``
    it is plain adversarial training.

    Args:
        beta, gamma, warm_up: as in :class:`semirobust.training.hooks.lap.LAP`.
        objective: what training minimises and the attack maximises.
    """

    beta: float = 0.01
    gamma: float = 1.0
    warm_up: int = 0
    objective: AbstractObjective = _ADVERSARIAL

    def plan(self, context: Context) -> Plan:
        return Plan(self.objective, All(), hooks=(LAP(self.beta, self.gamma, self.warm_up),))
