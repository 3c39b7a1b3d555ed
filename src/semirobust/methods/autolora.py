"""Adversarial fine-tuning with a low-rank branch for clean images."""

from dataclasses import dataclass, replace

from semirobust.adapters.low_rank import branch, without_branch
from semirobust.core.errors import InputError
from semirobust.methods import METHODS
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.autolora import AutoLoRA
from semirobust.training.trainable import All
from semirobust.training.training import Trained

__all__ = ["AutoLoRAFineTuning"]


@METHODS.register("autolora")
@dataclass(frozen=True)
class AutoLoRAFineTuning(AbstractMethod):
    """All layers train on adversarial images, a low-rank branch on clean ones; the branch is dropped
    afterwards.

    Source: AutoLoRA (Xu et al. 2024), with the loss of :class:`semirobust.objectives.autolora.AutoLoRA`.
    Their automatic learning rate is not part of it: the caller sets the schedule, as for every method.

    Args:
        rank: of the branch; 8 in the authors' code.
        weight: as in the objective.
    """

    rank: int = 8
    weight: float = 6.0

    def plan(self, context: Context) -> Plan:
        if self.rank < 1:
            raise InputError(f"rank: expected at least 1, got {self.rank}")
        names = [layer.name for layer in context.layers][:-1]  # the branch shares the classifier

        def as_before(trained: Trained) -> Trained:
            return replace(trained, best=without_branch(trained.best))

        return Plan(
            AutoLoRA(self.weight),
            All(),
            prepare=lambda model, seed: branch(model, names, self.rank, seed),
            as_before=as_before,
        )
