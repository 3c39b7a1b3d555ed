"""Adversarial fine-tuning with two branches of batch norm."""

from dataclasses import dataclass, replace
from typing import ClassVar

from semirobust.adapters.twin_norm import twin_norms, without_twins
from semirobust.methods import METHODS
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.twins import TWINS
from semirobust.training.trainable import All
from semirobust.training.training import Trained

__all__ = ["TwinFineTuning"]


@METHODS.register("twins")
@dataclass(frozen=True)
class TwinFineTuning(AbstractMethod):
    """PGD-AT of all layers, half of each batch with the batch statistics from before and with affine
    parameters of its own.

    Source: TWINS (Liu et al. 2023) and its code. The branch whose batch statistics adapt is attacked and is
    the resulting network; what the other one has of its own is dropped. The authors train for 60 epochs with
    the rate divided by ten after 30 and 50; here the caller sets the schedule.

    Args:
        weight: as in :class:`semirobust.objectives.twins.TWINS`.
    """

    needs_batch_norm: ClassVar[bool] = True

    weight: float = 1.0

    def plan(self, context: Context) -> Plan:
        def as_before(trained: Trained) -> Trained:
            return replace(trained, best=without_twins(trained.best))

        return Plan(
            TWINS(self.weight),
            All(),
            prepare=lambda model, seed: twin_norms(model, own_affine=True),
            as_before=as_before,
        )
