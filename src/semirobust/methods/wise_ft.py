"""Adversarial fine-tuning of all layers, then interpolation with the start."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.methods import METHODS
from semirobust.methods.base.interpolation import interpolated, validated_line
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.adversarial import Adversarial
from semirobust.training.trainable import All
from semirobust.training.training import Trained, Validate

__all__ = ["WeightInterpolation"]


@METHODS.register("wise")
@dataclass(frozen=True)
class WeightInterpolation(AbstractMethod):
    """PGD-AT of all layers continues, then w0 + alpha (w1 - w0): w0 the weights before, w1 those of the best
    epoch.

    Source: WiSE-FT (Wortsman et al. 2022), which fine-tunes on clean images of another distribution. Here the
    fine-tuning is adversarial, and alpha is the one of highest robust accuracy on held-out images; among
    equal ones it is the nearest to the start (ours). Batch statistics are interpolated with the weights.

    Args:
        steps: alpha is a multiple of 1 / steps.

    Raises:
        InputError: fewer than one step, or no held-out images.
    """

    steps: int = 10

    def plan(self, context: Context) -> Plan:
        if self.steps < 1:
            raise InputError(f"steps: expected at least 1, got {self.steps}")
        return Plan(Adversarial(), All(), after=self._go_back)

    def _go_back(
        self, trained: Trained, start: Mapping[str, Tensor], validate: Validate | None, seed: Seed
    ) -> Trained:
        if validate is None:
            raise InputError(
                "method wise: expected held-out images, since they choose how far it goes back; got none"
            )
        line = validated_line(trained, start, self.steps, validate, seed)
        robust = {alpha: scores["robust"] for alpha, scores in line}
        # Among equal accuracies the smallest alpha changes the network least.
        alpha = max(robust, key=lambda alpha: (robust[alpha], -alpha))
        before, chosen, end = (f"{robust[at]:.1%}" for at in (0.0, alpha, 1.0))
        note = (
            f"alpha {alpha:g} of the way: robust on held-out images {before} before, {chosen} here,"
            f" {end} at its end"
        )
        return replace(trained, best=interpolated(start, trained.best, alpha), notes=(*trained.notes, note))
