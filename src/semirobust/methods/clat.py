"""CLAT: fine-tuning of the critical layers alone."""

from dataclasses import dataclass, field, replace
from typing import Literal

from semirobust.methods import METHODS
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.clat import CLAT

__all__ = ["CriticalFineTuning"]


@METHODS.register("clat")
@dataclass(frozen=True)
class CriticalFineTuning(AbstractMethod):
    """Lower the criticality of the k most critical layers, selected again every 10 epochs; the others are
    frozen.

    Source: CLAT (Gopal et al.), algorithm 1. ``selection = "random"`` or ``"bottom"`` and ``every = 0`` are
    its controls. A layer whose feature does not depend on it is never selected, since the term of such a
    layer has no gradient (ours).

    Args:
        choice: which layers train.
        weight, scale_free, cross_entropy: as in :class:`semirobust.objectives.clat.CLAT`.
    """

    choice: LayerChoice = field(default_factory=LayerChoice)
    weight: float = 1.0
    scale_free: bool = True
    cross_entropy: Literal["clean", "adversarial", "both"] = "clean"

    def plan(self, context: Context) -> Plan:
        objective = CLAT(self.weight, self.scale_free, self.cross_entropy)
        # With a high weight the accuracy can collapse; such a run is stopped.
        return Plan(objective, self.choice.trainable(context, by_feature=True), collapse=0.5)

    def with_random_layers(self) -> "CriticalFineTuning":
        return replace(self, choice=self.choice.at_random())
