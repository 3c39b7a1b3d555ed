"""CLAT: fine-tuning of the critical layers alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from semirobust.layers.features import Place
from semirobust.measures.criticality import Form, Scale
from semirobust.methods import METHODS
from semirobust.methods.base.layer_choice import ChosenLayers
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.clat import CLAT

__all__ = ["CriticalFineTuning"]


@METHODS.register("clat")
@dataclass(frozen=True)
class CriticalFineTuning(AbstractMethod):
    """Lower the criticality of the k most critical layers, chosen anew every 10 epochs; all others are
    frozen.

    Source: CLAT (Gopal et al.), algorithm 1. ``selection = "random"`` or ``"bottom"`` and ``every = 0`` are
        its controls.

    Args:
        layers, selection, k, every, examples, scale, at, form, criterion: as in
            :class:`semirobust.methods.base.layer_choice.ChosenLayers`.
        weight, scale_free, cross_entropy: as in :class:`semirobust.objectives.clat.CLAT`.
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
    weight: float = 1.0
    scale_free: bool = True
    cross_entropy: Literal["clean", "adversarial", "both"] = "clean"

    def plan(self, context: Context) -> Plan:
        objective = CLAT(self.weight, self.scale_free, self.cross_entropy)
        return Plan(objective, ChosenLayers.of(self).trainable(context), collapse=0.5)
