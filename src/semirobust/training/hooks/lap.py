"""Layer-aware adversarial weight perturbation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.layers.map import LayerMap
from semirobust.training.hooks import HOOKS
from semirobust.training.hooks.base.weight_perturbation import (
    AbstractWeightPerturbation,
    check_radius,
    matrices,
    relative,
)

__all__ = ["LAP"]


@HOOKS.register("lap")
@dataclass(frozen=True)
class LAP(AbstractWeightPerturbation):
    """v_l = beta (1 - (ln l / ln L)^gamma) |w_l| g_l / |g_l| for weight l of L that train, from 1:
    strongest in front, 0 at the last.

    Source: Lin et al. 2024 ("Layer-aware analysis of catastrophic overfitting"), for training by one step of
    attack. The form of the factor, the numbers and which weights count are those of the authors' code, where
    a ResNet-18 has 21, projections and classifier among them. Ours is what is done with v. Here it ascends
    the outer loss at the perturbed images and is taken back after the step, as in AWP, which costs a pass
    forward and back. The authors' code takes the step of the optimiser at the random start of the attack,
    in the pass that the attack makes in any case, so v descends there; and it leaves v in the weights.

    Args:
        beta: radius at the first weight, a fraction of its norm; 0.01 in the authors' code.
        gamma: how fast it falls from layer to layer; 1 in the authors' code.
        warm_up: epochs before it begins (ours).
    """

    beta: float = 0.01
    gamma: float = 1.0
    warm_up: int = 0

    def __post_init__(self) -> None:
        check_radius("beta", self.beta, self.warm_up)
        if not self.gamma > 0:
            raise InputError(f"gamma: expected more than 0, got {self.gamma}")

    @property
    def off(self) -> bool:
        return self.beta == 0

    def named(self, model: nn.Module, layers: LayerMap) -> Mapping[str, Tensor]:
        return matrices(model)

    def share(self, number: int, count: int) -> float:
        """1 - (ln number / ln count)^gamma; 1 for the only one."""
        return 1 - (math.log(number) / math.log(count)) ** self.gamma if count > 1 else 1.0

    def along(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        shares = {name: self.share(number, len(weights)) for number, name in enumerate(weights, 1)}
        return {name: relative(weights[name], g, self.beta * shares[name]) for name, g in gradients.items()}
