"""Saliency by magnitude."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images
from semirobust.pruning.saliencies import SALIENCIES
from semirobust.pruning.saliencies.base.saliency import AbstractSaliency

__all__ = ["Magnitude"]


@SALIENCIES.register("magnitude")
@dataclass(frozen=True)
class Magnitude(AbstractSaliency):
    """|w| (Frankle & Carbin 2019)."""

    def __call__(
        self,
        model: nn.Module,
        weights: Mapping[str, Tensor],
        images: Images,
        attack: AbstractAttack | None,
        seed: Seed,
    ) -> dict[str, Tensor]:
        return {name: weight.detach().abs() for name, weight in weights.items()}
