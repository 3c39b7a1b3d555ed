"""Sharpness-aware minimisation."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semirobust.layers.map import LayerMap
from semirobust.training.hooks import HOOKS
from semirobust.training.hooks.base.weight_perturbation import AbstractWeightPerturbation, check_radius

__all__ = ["SAM"]

_TINY = 1e-12


@HOOKS.register("sam")
@dataclass(frozen=True)
class SAM(AbstractWeightPerturbation):
    """min_w max_v of the outer loss at w + v, ||v||_2 <= rho over all parameters that train, by one step:
    v = rho g / ||g||_2.

    Source: Foret et al. 2021, equation 2; as in their code, every parameter that trains is perturbed. Where
    few layers train, v lies in these alone (SAFER). Batch statistics move by the outer loss at w + v alone.

    Args:
        rho: radius; 0.05 in the paper.
        warm_up: epochs before it begins.
    """

    rho: float = 0.05
    warm_up: int = 0

    def __post_init__(self) -> None:
        check_radius("rho", self.rho, self.warm_up)

    @property
    def off(self) -> bool:
        return self.rho == 0

    def named(self, model: nn.Module, layers: LayerMap) -> Mapping[str, Tensor]:
        return {name: p for name, p in model.named_parameters() if p.requires_grad}

    def along(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        length = torch.stack([g.norm() for g in gradients.values()]).norm()
        scale = self.rho / (length + _TINY)
        return {name: scale * g for name, g in gradients.items()}
