"""Adversarial fine-tuning with two branches of batch norm, in an earlier form of ours."""

from dataclasses import dataclass
from typing import ClassVar

from semirobust.adapters.twin_norm import twin_norms
from semirobust.methods import METHODS
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.twins_ours import OurTWINS
from semirobust.training.trainable import All

__all__ = ["OurTwinFineTuning"]


@METHODS.register("twins-ours")
@dataclass(frozen=True)
class OurTwinFineTuning(AbstractMethod):
    """An earlier form of ours after TWINS: both branches of batch norm have one weight and one bias, and each
    half of a batch is attacked in its own branch.

    Liu et al. (2023) have :class:`semirobust.methods.twins.TwinFineTuning`. The branch whose batch statistics
    adapt is the resulting network.

    Args:
        weight: as in :class:`semirobust.objectives.twins_ours.OurTWINS`.
    """

    needs_batch_norm: ClassVar[bool] = True

    weight: float = 1.0

    def plan(self, context: Context) -> Plan:
        return Plan(OurTWINS(self.weight), All(), prepare=lambda model, seed: twin_norms(model))
