"""Small weights first."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.data.images import Images
from semirobust.pruning import SALIENCIES
from semirobust.pruning.base import AbstractSaliency
from semirobust.seed import Seed

__all__ = ["Magnitude"]


@SALIENCIES.register("magnitude")
@dataclass(frozen=True)
class Magnitude(AbstractSaliency):
    """|w| (Frankle & Carbin 2019)."""

    def __call__(
        self, model: nn.Module, weights: Mapping[str, Tensor], images: Images, attack: AbstractAttack | None, seed: Seed
    ) -> dict[str, Tensor]:
        return {name: weight.detach().abs() for name, weight in weights.items()}
