"""Latent adversarial training: an attack on the feature of one layer beside that on the image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from semirobust.core.checks import check_counts
from semirobust.core.errors import InputError
from semirobust.layers.features import channel_range
from semirobust.layers.quiet import quiet
from semirobust.layers.split import Cut, Suffix, split
from semirobust.objectives import OBJECTIVES
from semirobust.objectives.base.losses import cross_entropy, cross_entropy_of
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["Latent"]


@OBJECTIVES.register("latent")
@dataclass(frozen=True)
class Latent(AbstractObjective):
    """min E[ (1 - weight) CE(f(x_adv), y) + weight CE(G(F_j(x) + delta), y) ], f = G after F_j, x_adv and
    delta from attacks on CE.

    Source: latent adversarial training (LAT; Singh et al. 2019), whose code takes 20 steps of 1/255 within
    8/255, both times the range of values of each channel of F_j over the batch. The feature is then cut to
    that range, which of tokens is that of each position (ours). F_j(x) is that of the clean images, and the
    second term trains only what is behind layer j. Theirs are two steps of the optimiser, one for each term,
    whose rates are as 1 to 4; here it is one of the sum, with ``weight`` 0.2 (ours). They start at a random
    point and we at F_j(x), as an objective has no randomness. With ``weight = 0`` this is PGD-AT. Several
    layers are attacked one after the other, and the term is their mean (ours).

    Args:
        weight: of the second term, from 0 to 1.
        epsilon: radius of the attack on the feature, as a fraction of its range.
        step_size: of that attack, as a fraction of its range.
        steps: of that attack.
    """

    holds_back: ClassVar[bool] = True
    needs_one_label: ClassVar[str] = ""

    weight: float = 0.2
    epsilon: float = 8 / 255
    step_size: float = 1 / 255
    steps: int = 20

    def __post_init__(self) -> None:
        check_counts(1, steps=self.steps)
        if not 0 <= self.weight <= 1:
            raise InputError(f"weight: expected from 0 to 1, got {self.weight}")
        if not (self.epsilon >= 0 and self.step_size > 0):
            given = f"{self.epsilon} and {self.step_size}"
            raise InputError(f"epsilon and step_size: expected at least 0 and more than 0, got {given}")

    def inner(self, step: Step) -> Callable[[Tensor], Tensor]:
        return cross_entropy_of(step)

    def outer(self, step: Step, x_adv: Tensor) -> Tensor:
        loss = cross_entropy(step, step.model(x_adv))
        if self.weight == 0:
            return loss
        terms = [self._behind(step, index) for index in step.selected]
        return (1 - self.weight) * loss + self.weight * torch.stack(terms).mean()

    def _behind(self, step: Step, index: int) -> Tensor:
        """The loss () of the layers behind ``index`` on their perturbed feature."""
        prefix, suffix = split(step.model, step.layers, index)
        with quiet(step.model):
            with torch.no_grad():
                cut = prefix(step.x)
            perturbed = self._attacked(suffix, cut, step)
        return cross_entropy(step, suffix(cut, perturbed))

    def _attacked(self, suffix: Suffix, cut: Cut, step: Step) -> Tensor:
        """The feature that the attack ends at."""
        clean = cut.feature.detach()
        low, high = channel_range(clean)
        radius, length = self.epsilon * (high - low), self.step_size * (high - low)
        point = clean
        for _ in range(self.steps):
            with torch.enable_grad():
                point = point.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(cross_entropy(step, suffix(cut, point)), point)
            moved = point.detach() + length * gradient.sign()
            point = moved.clamp(clean - radius, clean + radius).clamp(low, high)
        return point.detach()
