"""Criticality-targeted fine-tuning."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.layers.features import features, forward_to, taken
from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import cross_entropy
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["CLAT"]

_DEAD = 1e-9  # a feature distance below this is that of layers that nothing changes


@OBJECTIVES.register("clat")
@dataclass(frozen=True)
class CLAT(AbstractObjective):
    """min over f_S of E[ CE(f(x), y) ] + weight * L_C, L_C = E max_delta sum_{i in S} ||F_i(x+delta) -
    F_i(x)||_2.

    Source: CLAT (Gopal et al.), equations 5 and 6. The attack maximises the feature distance, by passes that
    stop at the deepest selected layer. It needs a random start, since the gradient of the distance is 0 at
    delta = 0.

    Args:
        weight: lambda, which the paper does not give. 1 is our choice after a sweep. Less gains nothing.
            3 gains more after robust overfitting but collapses before it. 10 always collapses.
        scale_free: divide L_C by its value when the layers were selected (our choice). The norm differs
            tenfold between layers, so one lambda cannot suit them all. False is the paper's form. That is
            also taken for layers whose features no input changes any more, as in a dead branch (which L_C
            rewards).
        cross_entropy: on ``clean`` inputs as in equation 6; on ``adversarial`` ones or the mean of ``both``
            (our options).
    """

    flat_at_start: ClassVar[bool] = True
    needs_one_label: ClassVar[str] = ""

    weight: float = 1.0
    scale_free: bool = True
    cross_entropy: Literal["clean", "adversarial", "both"] = "clean"

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise InputError(f"weight: expected at least 0, got {self.weight}")

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        with torch.no_grad():
            clean = forward_to(step.model, step.layers, step.x, step.selected)
        return lambda x_adv: _distance(clean, forward_to(step.model, step.layers, x_adv, step.selected), step)

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        with features(step.model, step.layers, step.selected) as tape:
            logits = step.model(step.x)
            clean = taken(tape, step.selected)
            if self.cross_entropy == "clean":
                loss = cross_entropy(step, logits)
                perturbed = None
            else:
                loss_adv = cross_entropy(step, step.model(x_adv))
                perturbed = taken(tape, step.selected)
                loss = (
                    loss_adv
                    if self.cross_entropy == "adversarial"
                    else (loss_adv + cross_entropy(step, logits)) / 2
                )
        # Without logits of the perturbed images the pass may stop at the deepest selected layer.
        if perturbed is None:
            perturbed = forward_to(step.model, step.layers, x_adv, step.selected)
        scale = step.reference if self.scale_free else 1.0
        return loss + self.weight / scale * _distance(clean, perturbed, step).mean()

    def reference(self, step: Step, x_adv: Tensor) -> float:
        with torch.no_grad():
            clean = forward_to(step.model, step.layers, step.x, step.selected)
            perturbed = forward_to(step.model, step.layers, x_adv, step.selected)
            distance = float(_distance(clean, perturbed, step).mean())
        if torch.equal(x_adv, step.x):
            raise InputError(
                "attack: CLAT needs one with a random start (the gradient of the feature distance is 0 at x),"
                " such as pgd-10"
            )
        return distance if distance > _DEAD else 1.0


def _distance(clean: dict[int, Tensor], perturbed: dict[int, Tensor], step: Step) -> Tensor:
    """sum_i ||perturbed_i - clean_i||_2 of each example: (N,)."""
    lengths = [
        torch.linalg.vector_norm(step.layers.at(i).per_example(perturbed[i] - clean[i], len(step.x)), dim=1)
        for i in clean
    ]
    return torch.stack(lengths).sum(0)
