"""Training on clean examples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import cross_entropy
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["Standard"]


@OBJECTIVES.register("standard")
@dataclass(frozen=True)
class Standard(AbstractObjective):
    """min E[ CE(f(x), y) ]: empirical risk minimisation, no attack (Vapnik 1992)."""

    best_by: ClassVar[str] = "clean"
    needs_one_label: ClassVar[str] = ""

    def inner(self, step: Step) -> Callable[[Tensor], Tensor] | None:
        return None

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        return cross_entropy(step, step.model(step.x))
