"""TWINS."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from semirobust.adapters.twin_norm import split_batches
from semirobust.core.errors import InputError
from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import cross_entropy, cross_entropy_of
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["TWINS"]


@OBJECTIVES.register("twins")
@dataclass(frozen=True)
class TWINS(AbstractObjective):
    """min weight * E[ CE(f_frozen(x'), y) ] + E[ CE(f(x'), y) ], each branch on its half of the batch.

    Source: TWINS (Liu et al. 2023) and its code. f_frozen normalises by the statistics from before the
    fine-tuning, with affine parameters of its own that train. f normalises by those of its half of the batch.
    All other weights are shared. Both halves are attacked in f in eval mode, the network that results. The
    sum is not divided, so with weight 1 a step is about twice one of PGD-AT. A batch of one image is all of
    f. Without twin norms (:func:`semirobust.adapters.twin_norm.twin_norms`) f_frozen is f.

    Args:
        weight: lambda, of the frozen branch; 1 in the script of the authors for CIFAR.
    """

    needs_one_label: ClassVar[str] = ""

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise InputError(f"weight: expected at least 0, got {self.weight}")

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        return cross_entropy_of(step)

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        n = len(x_adv) // 2
        if n == 0:
            return cross_entropy(step, step.model(x_adv))
        with split_batches(step.model):
            logits = step.model(x_adv)
        frozen = cross_entropy(step, logits[:n], slice(n))
        return self.weight * frozen + cross_entropy(step, logits[n:], slice(n, None))
