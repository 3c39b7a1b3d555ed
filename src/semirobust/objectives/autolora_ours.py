"""AutoLoRA in an earlier form of ours."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from semirobust.adapters.low_rank import on_branch
from semirobust.core.errors import InputError
from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import cross_entropy_of, divergence
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["OurAutoLoRA"]


@OBJECTIVES.register("autolora-ours")
@dataclass(frozen=True)
class OurAutoLoRA(AbstractObjective):
    """min E[ (1 - p) CE(g(x), y) + p CE(f(x'), y) + weight * p * KL(p_g(x) || p_f(x')) ], g = f with a
    low-rank branch.

    An earlier form of ours after Xu et al. (2024), whose own is
    :class:`semirobust.objectives.autolora.AutoLoRA`. Here p is the fraction of clean images of the batch that
    g classifies correctly, and clean images train the branch and whatever has none, such as batch norm and
    the projections of shortcuts. Without a branch g is f.

    Args:
        weight: of the divergence; 6 in the authors' code.
    """

    needs_one_label: ClassVar[str] = (
        "AutoLoRA weighs its terms by the fraction of images whose one label is right"
    )

    weight: float = 6.0

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise InputError(f"weight: expected at least 0, got {self.weight}")

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        return cross_entropy_of(step)

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        with on_branch(step.model):
            clean = step.model(step.x)
        perturbed = step.model(x_adv)
        p = (clean.argmax(1) == step.y).to(clean.dtype).mean()
        # An accuracy has no gradient, so p is a constant of the step.
        losses = (1 - p) * F.cross_entropy(clean, step.y) + p * F.cross_entropy(perturbed, step.y)
        return losses + self.weight * p * divergence(clean, perturbed).mean()
