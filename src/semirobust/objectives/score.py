"""SCORE."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.core.errors import InputError
from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import shares_of
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["SCORE"]


@OBJECTIVES.register("score")
@dataclass(frozen=True)
class SCORE(AbstractObjective):
    """min E[ |p(x) - y|^2 + beta * max(|p(x') - p(x)|^2 - clip, 0) ], x' = argmax |p(x') - p(x)|^2, p =
    softmax f.

    Source: Pang et al. 2022, equation 10 in its squared form (LSE), which the authors train with. Labels are
    smoothed to (1 - s C / (C - 1)) onehot + s / (C - 1) for any number C of classes. With the 10 classes of
    CIFAR-10 that is the authors' form.

    Args:
        beta: weight of the second distance; 3 to 4 in the paper.
        smoothing: s, the probability taken from the true class; 0 in the authors' runs of LSE.
        clip: distances up to this value do not count.
    """

    flat_at_start: ClassVar[bool] = True
    needs_one_label: ClassVar[str] = ""

    beta: float = 4.0
    smoothing: float = 0.0
    clip: float = 0.0

    def __post_init__(self) -> None:
        if not self.beta >= 0 or not 0 <= self.smoothing < 1 or not self.clip >= 0:
            raise InputError(
                "beta, smoothing and clip: expected at least 0, the second below 1;"
                f" got {(self.beta, self.smoothing, self.clip)}"
            )

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        with torch.no_grad():
            clean = step.model(step.x).softmax(1)
        return lambda x_adv: (step.model(x_adv).softmax(1) - clean).square().sum(1)

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        clean, perturbed = step.model(step.x).softmax(1), step.model(x_adv).softmax(1)
        classes = clean.shape[1]
        rest = self.smoothing / (classes - 1) if classes > 1 else 0.0  # the target of each wrong class
        target = shares_of(step, clean) * (1 - rest * classes) + rest
        distance = (perturbed - clean).square().sum(1)
        return (clean - target).square().sum(1).mean() + self.beta * F.relu(distance - self.clip).mean()
