"""LP-FT: linear probing, then fine-tuning, under attack."""

from dataclasses import dataclass

from semirobust.core.errors import InputError
from semirobust.methods import METHODS
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives import AbstractObjective
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.trainable import Probed

__all__ = ["ProbedFineTuning"]

_ADVERSARIAL = Adversarial()


@METHODS.register("lp-ft")
@dataclass(frozen=True)
class ProbedFineTuning(AbstractMethod):
    """PGD-AT of the classifier alone, then of everything.

    Source: Kumar et al. 2022 ("Fine-tuning can distort pretrained features"), whose two parts have training
    runs of their own. Here they share one schedule (ours), and both are under attack. With ``probe = 0``
    everything trains throughout.

    Args:
        probe: epochs of the classifier alone; there must be more epochs than these.
        objective: what training minimises and the attack maximises.
    """

    probe: int = 1
    objective: AbstractObjective = _ADVERSARIAL

    def __post_init__(self) -> None:
        if self.probe < 0:
            raise InputError(f"probe: expected at least 0 epochs, got {self.probe}")

    def plan(self, context: Context) -> Plan:
        trainable = Probed(context.layers.classifier, self.probe)
        return Plan(self.objective, trainable, prefix_epochs=self.probe)
