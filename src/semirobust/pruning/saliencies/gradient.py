"""Saliency by the change of the loss to first order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.attacks import AbstractAttack
from semirobust.core.checks import check_counts
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images
from semirobust.layers.quiet import quiet
from semirobust.pruning.saliencies import SALIENCIES
from semirobust.pruning.saliencies.base.saliency import AbstractSaliency, random_examples

__all__ = ["Gradient"]

_BATCH = 128


@SALIENCIES.register("gradient")
@dataclass(frozen=True)
class Gradient(AbstractSaliency):
    """|w * dL/dw|, where L is the mean cross entropy on ``examples`` training images (SNIP, Lee et al. 2019).

    The model is in eval mode. The score is the change of L, to first order, when the weight is set to 0.

    Args:
        inputs: ``adversarial`` images, found by the attack of training, for the robust loss; or ``clean``.
        examples: the number of images, drawn at random.

    Raises:
        InputError: adversarial inputs are asked for without an attack.
    """

    inputs: Literal["adversarial", "clean"] = "adversarial"
    examples: int = 512

    def __post_init__(self) -> None:
        check_counts(1, examples=self.examples)

    def __call__(
        self,
        model: nn.Module,
        weights: Mapping[str, Tensor],
        images: Images,
        attack: AbstractAttack | None,
        seed: Seed,
    ) -> dict[str, Tensor]:
        if self.inputs == "adversarial" and attack is None:
            raise InputError(
                "saliency gradient: expected an attack for adversarial inputs; say inputs=clean to do without"
            )
        x, y = random_examples(images, self.examples, model, seed)
        total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        with quiet(model):
            if self.inputs == "adversarial" and attack is not None:
                x = attack.in_batches(model, x, y, seed=seed / "attack")
            for weight in weights.values():
                weight.requires_grad_(True)
            for a, b in zip(x.split(_BATCH), y.split(_BATCH), strict=True):
                with torch.enable_grad():
                    loss = F.cross_entropy(model(a), b, reduction="sum") / len(x)
                    gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
                for name, gradient in zip(weights, gradients, strict=True):
                    if gradient is not None:  # None of a layer that the logits do not depend on
                        total[name] += gradient
        return {name: (weight.detach() * total[name]).abs() for name, weight in weights.items()}
