"""SCORE."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.core.errors import InputError
from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["SCORE"]


@OBJECTIVES.register("score")
@dataclass(frozen=True)
class SCORE(AbstractObjective):
    """min E[ |p(x) - y|^2 + beta * max(|p(x') - p(x)|^2 - clip, 0) ], x' = argmax |p(x') - p(x)|^2, p =
    softmax f.

    Source: Pang et al. 2022, equation 10 in its squared form (LSE), which the authors train with. Labels are
    smoothed to (1 - s C / (C - 1)) onehot + s / (C - 1) for any number C of classes; the authors' form with
    the 10 of CIFAR-10 is that.

    Args:
        beta: weight of the second distance; 3 to 4 in the paper.
        smoothing: s, what is taken from the true class; 0 in the authors' runs of LSE.
        clip: distances below it cost nothing.
    """

    flat_at_start: ClassVar[bool] = True

    beta: float = 4.0
    smoothing: float = 0.0
    clip: float = 0.0

    def __post_init__(self) -> None:
        if not self.beta >= 0 or not 0 <= self.smoothing < 1 or not self.clip >= 0:
            found = (self.beta, self.smoothing, self.clip)
            raise InputError(
                f"beta, smoothing and clip: expected at least 0, the second below 1; got {found}"
            )

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        with torch.no_grad():
            clean = step.model(step.x).softmax(1)
        return lambda x_adv: (step.model(x_adv).softmax(1) - clean).square().sum(1)

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        clean, moved = step.model(step.x).softmax(1), step.model(x_adv).softmax(1)
        classes = clean.shape[1]
        onehot = F.one_hot(step.y, classes).to(clean.dtype)
        rest = self.smoothing / (classes - 1) if classes > 1 else 0.0
        target = onehot * (1 - rest * classes) + rest
        moved_by = (moved - clean).square().sum(1)
        return (clean - target).square().sum(1).mean() + self.beta * F.relu(moved_by - self.clip).mean()
