"""Adversarial weight perturbation of the latter layers alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.layers.map import LayerMap
from semirobust.training.hooks import HOOKS
from semirobust.training.hooks.base.latter import latter
from semirobust.training.hooks.base.weight_perturbation import (
    AbstractWeightPerturbation,
    check_radius,
    matrices,
    relative,
)

__all__ = ["LatterAWP"]


@HOOKS.register("latter-awp")
@dataclass(frozen=True)
class LatterAWP(AbstractWeightPerturbation):
    """v_l = gamma |w_l| g_l / |g_l| as in AWP, for the latter layers alone: those in which robust overfitting
    arises.

    Source: Nguyen et al. 2024 ("On intriguing layer-wise properties of robust overfitting", TMLR), whose code
    perturbs the last of the four groups of a ResNet-18 (``layer4``), and not the classifier. Those are the
    last 4 of 17 convolutions. Counting layers in place of groups is ours, so that any network has them.

    Args:
        share: of the layers but the classifier, counted from the output and rounded up; 0 for none.
        gamma: radius, a fraction of each weight's norm; 0.01 in the authors' code.
        warm_up: epochs before it begins.
    """

    share: float = 0.25
    gamma: float = 0.01
    warm_up: int = 0

    def __post_init__(self) -> None:
        check_radius("gamma", self.gamma, self.warm_up)
        if not 0 <= self.share <= 1:
            raise InputError(f"share: expected from 0 to 1, got {self.share}")

    @property
    def off(self) -> bool:
        return self.gamma == 0 or self.share == 0

    def apart(self, layers: LayerMap, epoch: int) -> tuple[int, ...]:
        return () if self.off or epoch < self.warm_up else latter(layers, self.share)

    def named(self, model: nn.Module, layers: LayerMap) -> Mapping[str, Tensor]:
        chosen = set(layers.parameters(latter(layers, self.share)))
        return {name: weight for name, weight in matrices(model).items() if name in chosen}

    def along(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: relative(weights[name], g, self.gamma) for name, g in gradients.items()}
