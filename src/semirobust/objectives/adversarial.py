"""Adversarial training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import cross_entropy, cross_entropy_of
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["Adversarial"]


@OBJECTIVES.register("adversarial")
@dataclass(frozen=True)
class Adversarial(AbstractObjective):
    """min E[ max_delta CE(f(x + delta), y) ] (Madry et al. 2018, equation 2.1).

    With PGD as the attack this is PGD-AT, with FGSM it is FGSM-AT. The model is in eval mode during the
    attack (our choice; the references differ), so only the outer loss updates batch statistics.
    """

    needs_one_label: ClassVar[str] = ""

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        return cross_entropy_of(step)

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        return cross_entropy(step, step.model(x_adv))
