"""Adversarial weight perturbation."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from semirobust.layers.map import LayerMap
from semirobust.training.hooks import HOOKS
from semirobust.training.hooks.base.weight_perturbation import (
    AbstractWeightPerturbation,
    check_radius,
    matrices,
    relative,
)

__all__ = ["AWP"]


@HOOKS.register("awp")
@dataclass(frozen=True)
class AWP(AbstractWeightPerturbation):
    """min_w max_v of the outer loss at w + v, |v_l| <= gamma |w_l| for each layer's weight (Wu et al. 2020,
    equation 7).

    v is one normalised gradient step: v_l = gamma |w_l| g_l / |g_l|. The authors take it on a copy of the
    network by one step of SGD. The normalisation undoes the length of that step, so the gradient itself gives
    the same v without a copy. As in their code, biases and norms are not perturbed, batch statistics move by
    the outer loss at w + v, and v is taken back after the step.

    Args:
        gamma: radius, a fraction of each weight's norm; 0.01 for adversarial training and 0.005 for TRADES in
            the authors' scripts.
        warm_up: epochs before it begins.
    """

    gamma: float = 0.01
    warm_up: int = 0

    def __post_init__(self) -> None:
        check_radius("gamma", self.gamma, self.warm_up)

    @property
    def off(self) -> bool:
        return self.gamma == 0

    def named(self, model: nn.Module, layers: LayerMap) -> Mapping[str, Tensor]:
        return matrices(model)

    def along(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: relative(weights[name], g, self.gamma) for name, g in gradients.items()}
