"""AutoLoRA."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.adapters.low_rank import on_branch, on_branch_alone
from semirobust.core.errors import InputError
from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import cross_entropy_of, divergence
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["AutoLoRA"]


@OBJECTIVES.register("autolora")
@dataclass(frozen=True)
class AutoLoRA(AbstractObjective):
    """min E[ (1 - p) CE(g(x), y) + p CE(f(x'), y) + weight * p * KL(p_g(x) || p_f(x')) ], g = f with a
    low-rank branch.

    Source: AutoLoRA (Xu et al. 2024) and its code: lambda_1 = 1 - p and lambda_2 = 6 p, where p is the
    fraction of the training images, augmented and not attacked, that g classified correctly before the epoch.
    Clean images train the branch and the classifier alone: batch norm, the first convolution and all weights
    beside the branch get no gradient from them. Adversarial images, which maximise CE(f(x'), y), train f.
    Both passes move the statistics of batch norm.

    Their code for small images also measures p again at quarters of an epoch (here, as in their text and in
    their code for large images, once an epoch). In a step outside of a training p is that of the batch.
    Without a branch g is f, and clean images train all of it.

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

    def measure(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        """p: the accuracy of g on all clean images."""
        right = total = 0
        with on_branch(model):
            for x, y in batches:
                right += int((model(x).argmax(1) == y).sum())
                total += len(y)
        return right / total

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        return cross_entropy_of(step)

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        # A norm in front of the classifier belongs to its layer, but does not train on clean images either.
        head = [name for index in step.layers.classifier for name in step.layers.at(index).linear]
        with on_branch_alone(step.model, head):
            clean = step.model(step.x)
        perturbed = step.model(x_adv)
        p = step.measured
        if p is None:
            p = float((clean.argmax(1) == step.y).to(clean.dtype).mean())
        losses = (1 - p) * F.cross_entropy(clean, step.y) + p * F.cross_entropy(perturbed, step.y)
        return losses + self.weight * p * divergence(clean, perturbed).mean()
