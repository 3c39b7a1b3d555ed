"""Adversarial training on clean images too."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import cross_entropy, cross_entropy_of
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["Mixed"]


@OBJECTIVES.register("mixed")
@dataclass(frozen=True)
class Mixed(AbstractObjective):
    """min E[ (1 - clean) max_delta CE(f(x + delta), y) + clean CE(f(x), y) ], in nats.

    Source: Goodfellow et al. (2015), equation in section 6, whose alpha is ``clean``. The capacity study of
    "Lighter robust model", section III, trains on both kinds of images without giving their proportion.

    Args:
        clean: the fraction of clean images in the loss.
    """

    needs_one_label: ClassVar[str] = ""

    clean: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.clean <= 1:
            raise InputError(f"clean: expected a fraction from 0 to 1, got {self.clean}")

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        return cross_entropy_of(step)

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        # One pass, so that batch norm sees both kinds of images together.
        both = step.model(torch.cat([x_adv, step.x]))
        perturbed, clean = both.split(len(step.x))
        return (1 - self.clean) * cross_entropy(step, perturbed) + self.clean * cross_entropy(step, clean)
