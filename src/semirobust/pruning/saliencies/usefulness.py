"""Saliency by the usefulness of the features that a classifier takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images
from semirobust.layers.quiet import quiet
from semirobust.measures.usefulness import FeatureAttack, usefulness
from semirobust.pruning.saliencies import SALIENCIES
from semirobust.pruning.saliencies.base.saliency import AbstractSaliency, random_examples
from semirobust.threats import AbstractBall

__all__ = ["Useful"]


@SALIENCIES.register("usefulness")
@dataclass(frozen=True)
class Useful(AbstractSaliency):
    """Usefulness or robust usefulness of the features that the classifier takes
    (:mod:`semirobust.measures.usefulness`).

    It scores only the classifier's weights, and all weights of a feature alike, so it needs the scope
    ``features``. Source: "Lighter robust model", section I: prune the least useful features.

    Args:
        kind: ``useful``, ``robust``, or ``actual``: usefulness times weight.
        examples: the number of training images, drawn at random.
        steps, step_size: of the attack on single features; None for 2.5 * epsilon / steps.

    Raises:
        InputError: robust usefulness is asked for without an attack within a norm ball, or the classifier is
            not linear.
    """

    kind: Literal["useful", "robust", "actual"] = "useful"
    examples: int = 512
    steps: int = 3
    step_size: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("useful", "robust", "actual") or self.examples < 2:
            raise InputError(
                "kind and examples: expected useful, robust or actual, and at least 2; got"
                f" {self.kind!r} and {self.examples}"
            )

    def __call__(
        self,
        model: nn.Module,
        weights: Mapping[str, Tensor],
        images: Images,
        attack: AbstractAttack | None,
        seed: Seed,
    ) -> dict[str, Tensor]:
        feature_attack = None
        if self.kind == "robust":
            if attack is None or not isinstance(attack.threat, AbstractBall):
                raise InputError(
                    "saliency usefulness: expected an attack within a norm ball, whose radius is that of"
                    " features"
                )
            feature_attack = FeatureAttack(attack.threat, self.steps, self.step_size)
        x, y = random_examples(images, self.examples, model, seed)
        with quiet(model):
            scores = usefulness(model, x, y, attack=feature_attack, seed=seed / "attack")
        values = torch.as_tensor(getattr(scores, self.kind))
        name = list(weights)[-1]
        weight = weights[name]
        if weight.dim() != 2 or weight.shape[1] != len(values):
            raise InputError(
                "saliency usefulness: expected the classifier's weights last among those that are pruned"
            )
        return {name: values.to(weight.device, weight.dtype).expand_as(weight)}
