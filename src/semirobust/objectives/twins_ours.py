"""TWINS in an earlier form of ours."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from semirobust.adapters.twin_norm import split_batches
from semirobust.core.errors import InputError
from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import cross_entropy
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["OurTWINS"]


@OBJECTIVES.register("twins-ours")
@dataclass(frozen=True)
class OurTWINS(AbstractObjective):
    """min E[ (weight * CE(f_frozen(x'), y) + CE(f(x'), y)) / (weight + 1) ], each branch on its half of the
    batch.

    An earlier form of ours after Liu et al. (2023), whose own is
    :class:`semirobust.objectives.twins.TWINS`. f_frozen normalises by the statistics from before the
    fine-tuning, f by the current ones; here they share all weights, and each half is attacked in its own
    branch. The sum is divided, so that the learning rate means the same as elsewhere. Without twin norms
    (:func:`semirobust.adapters.twin_norm.twin_norms`) and with weight 1 this is PGD-AT.

    Args:
        weight: lambda, of the frozen branch; 1 is ours.
    """

    needs_one_label: ClassVar[str] = ""

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise InputError(f"weight: expected at least 0, got {self.weight}")

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        def loss(x_adv: Tensor) -> Tensor:
            with split_batches(step.model):
                return cross_entropy(step, step.model(x_adv), reduction="none")

        return loss

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        with split_batches(step.model):
            losses = cross_entropy(step, step.model(x_adv), reduction="none")
        # The frozen branch gets the first half; a single image has no such half.
        n = len(losses) // 2
        if n == 0:
            return losses.mean()
        return (self.weight * losses[:n].mean() + losses[n:].mean()) / (self.weight + 1)
