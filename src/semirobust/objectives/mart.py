"""MART."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.core.errors import InputError
from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import cross_entropy_of, divergence
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["MART"]


@OBJECTIVES.register("mart")
@dataclass(frozen=True)
class MART(AbstractObjective):
    """min E[ BCE(p(x'), y) + beta * KL(p(x) || p(x')) (1 - p_y(x)) ], x' = argmax CE (Wang et al. 2020,
    equation 9).

    BCE(p, y) = -log p_y - log(1 - max_{k != y} p_k). The authors add 1e-4 inside the second logarithm, as is
    done here. They also add 1e-12 and 1e-7 elsewhere, which log-softmax makes unnecessary.

    Args:
        beta: weight of the divergence; 5 in the authors' script.
        margin: include the second term of BCE; without it and with beta = 0 this is PGD-AT.
    """

    needs_one_label: ClassVar[str] = (
        "MART weighs each image by the probability of its one label and by the largest of the others"
    )

    beta: float = 5.0
    margin: bool = True

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise InputError(f"beta: expected at least 0, got {self.beta}")

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        return cross_entropy_of(step)

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        clean, perturbed = step.model(step.x), step.model(x_adv)
        loss = F.cross_entropy(perturbed, step.y)
        if self.margin:
            p = perturbed.softmax(1)
            rival = p.scatter(1, step.y[:, None], -1.0).amax(1)  # the largest of the wrong classes
            loss = loss - torch.log(1.0001 - rival).mean()
        # The less certain an image is without an attack, the more it counts.
        doubt = 1 - clean.softmax(1).gather(1, step.y[:, None]).squeeze(1)
        return loss + self.beta * (divergence(clean, perturbed) * doubt).mean()
