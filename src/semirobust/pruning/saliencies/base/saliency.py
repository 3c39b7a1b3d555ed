"""The form of every saliency of weights."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images
from semirobust.layers.quiet import device_of

__all__ = ["AbstractSaliency", "drawn"]


def drawn(images: Images, count: int, model: nn.Module, seed: Seed) -> tuple[Tensor, Tensor]:
    """``count`` images at random, all where there are fewer, and their labels, on the model's device."""
    order = torch.randperm(len(images), generator=(seed / "examples").generator())[:count]
    return images.batch(order, device_of(model, torch.device("cpu")))


@dataclass(frozen=True)
class AbstractSaliency(ABC):
    """What each weight is worth; those worth least are pruned first.

    Attributes:
        comparable: whether scores say what they say in every layer, so that nobody has to bring layers to one
            scale.
    """

    comparable: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self,
        model: nn.Module,
        weights: Mapping[str, Tensor],
        images: Images,
        attack: AbstractAttack | None,
        seed: Seed,
    ) -> dict[str, Tensor]:
        """A score for each of ``weights``, which are parameters of ``model`` by name; the model is left as it
        was.

        One that scores features alone leaves the other weights out.
        """
