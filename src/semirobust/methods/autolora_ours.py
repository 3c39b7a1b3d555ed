"""Adversarial fine-tuning with a low-rank branch for clean images, in an earlier form of ours."""

from dataclasses import dataclass, replace

from semirobust.adapters.low_rank import branch, without_branch
from semirobust.core.errors import InputError
from semirobust.methods import METHODS
from semirobust.methods.base.called import check_called
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.autolora_ours import OurAutoLoRA
from semirobust.training.trainable import All
from semirobust.training.training import Trained

__all__ = ["OurAutoLoRAFineTuning"]


@METHODS.register("autolora-ours")
@dataclass(frozen=True)
class OurAutoLoRAFineTuning(AbstractMethod):
    """An earlier form of ours after AutoLoRA: its branch, without its rate, its p and its gradients.

    Xu et al. (2024) have :class:`semirobust.methods.autolora.AutoLoRAFineTuning`. Here the loss is
    :class:`semirobust.objectives.autolora_ours.OurAutoLoRA`. Each layer but the classifier has an update of
    rank ``rank`` over outputs x (inputs x taps) that begins as N(0, 1 / fan-in), and the caller sets the
    schedule.

    Args:
        rank: of the branch.
        weight: as in the objective.
    """

    rank: int = 8
    weight: float = 6.0

    def plan(self, context: Context) -> Plan:
        if self.rank < 1:
            raise InputError(f"rank: expected at least 1, got {self.rank}")
        heads = context.layers.classifier  # the branch shares them
        names = [layer.name for layer in context.layers if layer.index not in heads]
        check_called(context.layers, names)

        def as_before(trained: Trained) -> Trained:
            return replace(trained, best=without_branch(trained.best))

        return Plan(
            OurAutoLoRA(self.weight),
            All(),
            prepare=lambda model, seed: branch(model, names, self.rank, seed),
            as_before=as_before,
        )
