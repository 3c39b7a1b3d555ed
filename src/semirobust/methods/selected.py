"""Adversarial training of chosen layers."""

from collections.abc import Sequence
from dataclasses import dataclass

from semirobust.layers.features import Place
from semirobust.measures.criticality import Form, Scale
from semirobust.methods import METHODS
from semirobust.methods.base.layer_choice import ChosenLayers
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.adversarial import Adversarial

__all__ = ["SelectedAdversarial"]


@METHODS.register("selected")
@dataclass(frozen=True)
class SelectedAdversarial(AbstractMethod):
    """Plain PGD-AT of the layers that CLAT would train: the control that separates its objective from its
    selection (ours).

    Args:
        layers, selection, k, every, examples, scale, at, form, criterion: as in
            :class:`semirobust.methods.base.layer_choice.ChosenLayers`.
    """

    layers: Sequence[int] | None = None
    selection: str = "top"
    k: int | None = None
    every: int = 10
    examples: int = 512
    scale: Scale = "paper"
    at: Place = "input"
    form: Form = "distance"
    criterion: str = "criticality"

    def plan(self, context: Context) -> Plan:
        return Plan(Adversarial(), ChosenLayers.of(self).trainable(context))
