"""Adversarial fine-tuning with two branches of batch norm."""

from dataclasses import dataclass

from semirobust.adapters.twin_norm import twin_norms
from semirobust.methods import METHODS
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.twins import TWINS
from semirobust.training.trainable import All

__all__ = ["TwinFineTuning"]


@METHODS.register("twins")
@dataclass(frozen=True)
class TwinFineTuning(AbstractMethod):
    """PGD-AT of all layers, half of each batch with the batch statistics from before (TWINS, Liu et al.
    2023).

    The branch whose batch statistics adapt is the resulting network.

    Args:
        weight: as in :class:`semirobust.objectives.twins.TWINS`.
    """

    weight: float = 1.0

    def plan(self, context: Context) -> Plan:
        return Plan(TWINS(self.weight), All(), prepare=lambda model, seed: twin_norms(model))
