"""Adversarial training with a term that holds the most vulnerable layers still."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.layers.features import features, taken
from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import cross_entropy, cross_entropy_of
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["LayerRegularised"]

_TINY = 1e-12


@OBJECTIVES.register("at-lr")
@dataclass(frozen=True)
class LayerRegularised(AbstractObjective):
    """min E[ CE(f(x_adv), y) + weight sum_{l in S} CM_l ], CM_l = ||F_l(x) - F_l(x_adv)|| / ||F_l(x)||,
    x_adv = argmax CE.

    Source: layer-wise regularised adversarial training (AT-LR; Khalooei et al. 2022). CM_l is the relative
    error of a batch, as in layer sustainability analysis (``sustainability``). The paper has one weight for
    each layer and its values could not be established; here there is one for all, and 1 is our choice.
    Batch statistics move by both passes. With ``weight = 0`` there is no clean pass, and this is PGD-AT.

    Args:
        weight: gamma of every chosen layer.
    """

    needs_one_label: ClassVar[str] = ""

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise InputError(f"weight: expected at least 0, got {self.weight}")

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        return cross_entropy_of(step)

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        if self.weight == 0:
            return cross_entropy(step, step.model(x_adv))
        with features(step.model, step.layers, step.selected) as tape:
            step.model(step.x)
            clean = taken(tape, step.selected)
            loss = cross_entropy(step, step.model(x_adv))
            errors = [
                torch.linalg.vector_norm(clean[i] - tape[i]) / (torch.linalg.vector_norm(clean[i]) + _TINY)
                for i in clean
            ]
        return loss + self.weight * torch.stack(errors).sum()
