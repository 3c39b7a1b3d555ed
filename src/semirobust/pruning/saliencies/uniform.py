"""Saliency at random."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images
from semirobust.pruning.saliencies import SALIENCIES
from semirobust.pruning.saliencies.base.saliency import AbstractSaliency

__all__ = ["Uniform"]


@SALIENCIES.register("random")
@dataclass(frozen=True)
class Uniform(AbstractSaliency):
    """A number drawn uniformly for each weight: the control of every other saliency (ours)."""

    def __call__(
        self,
        model: nn.Module,
        weights: Mapping[str, Tensor],
        images: Images,
        attack: AbstractAttack | None,
        seed: Seed,
    ) -> dict[str, Tensor]:
        return {
            name: torch.rand(w.shape, generator=(seed / name).generator()).to(w.device)
            for name, w in weights.items()
        }
