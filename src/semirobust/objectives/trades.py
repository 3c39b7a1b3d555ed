"""TRADES."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import cross_entropy, cross_entropy_of, divergence
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["TRADES"]


@OBJECTIVES.register("trades")
@dataclass(frozen=True)
class TRADES(AbstractObjective):
    """min E[ CE(f(x), y) + beta * max_delta KL(p(x) || p(x + delta)) ], p = softmax f (Zhang et al. 2019,
    equation 5).

    The gradient of the divergence is 0 at delta = 0, so its attack needs a random start. The authors' start
    is 0.001 N(0, 1); ours is that of the attack. p(x) is computed once, theirs in every step. With beta = 0
    this is standard training. On images that were mixed the attack raises the cross entropy to their shares
    of labels in place of the divergence, as in the code of Rebuffi et al. (2021).

    Args:
        beta: weight of the divergence; 6 in the authors' script.
        smoothing: of the labels in the cross entropy on clean images, whose target is 1 - s + s / C for the
            label and s / C for the others; 0.1 in Wang et al. (2023).
    """

    flat_at_start: ClassVar[bool] = True
    needs_one_label: ClassVar[str] = ""

    beta: float = 6.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise InputError(f"beta: expected at least 0, got {self.beta}")
        if not 0 <= self.smoothing < 1:
            raise InputError(f"smoothing: expected from 0 to below 1, got {self.smoothing}")

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        if step.shares is not None:
            return cross_entropy_of(step)
        # The model does not change during the attack, so one pass over the clean images is enough.
        with torch.no_grad():
            clean = step.model(step.x)
        return lambda x_adv: divergence(clean, step.model(x_adv))

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        clean = step.model(step.x)
        loss = cross_entropy(step, clean, smoothing=self.smoothing)
        return loss + self.beta * divergence(clean, step.model(x_adv)).mean()
