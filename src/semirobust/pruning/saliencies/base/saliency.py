"""The interface of every saliency of weights."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.core.typed import Typed, returned
from semirobust.data.base.images import Images
from semirobust.layers.quiet import device_of

__all__ = ["AbstractSaliency", "random_examples"]


def random_examples(images: Images, count: int, model: nn.Module, seed: Seed) -> tuple[Tensor, Tensor]:
    """``count`` random images, or all where there are fewer, and their labels, on the model's device."""
    order = torch.randperm(len(images), generator=(seed / "examples").generator())[:count]
    return images.fitting(model).batch(order, device_of(model, torch.device("cpu")))


@dataclass(frozen=True)
class AbstractSaliency(Typed, ABC):
    """The importance of each weight; weights of low saliency are pruned first.

    Attributes:
        comparable: whether scores of different layers are on one scale. If not, pruning of channels divides
            them by the mean of their layer.
    """

    like: ClassVar[str] = "SALIENCIES.make('magnitude')"

    comparable: ClassVar[bool] = False

    def scored(
        self,
        model: nn.Module,
        weights: Mapping[str, Tensor],
        images: Images,
        attack: AbstractAttack | None,
        seed: Seed,
    ) -> dict[str, Tensor]:
        """What it gives for these arguments, looked at, since the saliency may be another package's.

        Raises:
            InputError: it is no score for each weight, in the shape of that weight.
        """
        found = returned(self(model, weights, images, attack, seed), dict[str, Tensor], self)
        own = type(self).__name__
        for name, scores in found.items():
            if name not in weights:
                raise InputError(f"{own}: expected scores of the weights alone, got {name}")
            expected, got = tuple(weights[name].shape), tuple(scores.shape)
            if got != expected:
                raise InputError(f"{own}: expected scores of shape {expected} for {name}, got {got}")
        return found

    @abstractmethod
    def __call__(
        self,
        model: nn.Module,
        weights: Mapping[str, Tensor],
        images: Images,
        attack: AbstractAttack | None,
        seed: Seed,
    ) -> dict[str, Tensor]:
        """A score for each of ``weights``; the model is left as it was.

        Args:
            model: gives logits (N, C).
            weights: parameters of ``model``, by name.
            images: training images to score on.
            attack: the attack of training, for scores under attack.
            seed: of whatever is drawn at random.

        Returns:
            name -> scores in the shape of the weight. A saliency of features scores the classifier alone.
        """
