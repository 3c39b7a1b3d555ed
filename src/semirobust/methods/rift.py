"""Fine-tuning on clean images as far as it costs no robustness."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.methods import METHODS
from semirobust.methods.base.interpolation import interpolated, validated_line
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.standard import Standard
from semirobust.training.training import Trained, Validate

__all__ = ["RiFT"]


@METHODS.register("rift")
@dataclass(frozen=True)
class RiFT(AbstractMethod):
    """Train the layer that matters least for robustness on clean images, then go back part of the way.

    Source: RiFT (Zhu et al. 2023). The layer is the one with the lowest module robust criticality
    (:class:`semirobust.measures.weight_criticality.WeightCriticality`). The final weights are w0 + alpha (w1
    - w0), w0 those from before and w1 those of the best epoch by clean accuracy, batch statistics included.
    The authors choose alpha by eye on the test images. Here it is the one of highest clean accuracy on
    held-out images among those that lose at most ``tolerance`` of robust accuracy there (ours). Frozen layers
    do not update their batch statistics; in the authors' code they do.

    Args:
        choice: which layers train; they are chosen once.
        steps: alpha is a multiple of 1 / steps; 10 in the authors' code.
        tolerance: robust accuracy that may be lost on held-out images, as a fraction.
    """

    choice: LayerChoice = field(
        default_factory=lambda: LayerChoice(selection="bottom", k=1, every=0, criterion="weight-criticality")
    )
    steps: int = 10
    tolerance: float = 0.0

    def plan(self, context: Context) -> Plan:
        if self.steps < 1 or not 0 <= self.tolerance <= 1:
            raise InputError(
                "steps and tolerance: expected at least 1 and a fraction, got"
                f" {self.steps} and {self.tolerance}"
            )
        if self.choice.every and self.choice.layers is None:
            raise InputError(f"every: expected 0, since layers are chosen once; got {self.choice.every}")
        return Plan(Standard(), self.choice.trainable(context), after=self._go_back)

    def with_random_layers(self) -> "RiFT":
        return replace(self, choice=self.choice.at_random())

    def _go_back(
        self, trained: Trained, start: Mapping[str, Tensor], validate: Validate | None, seed: Seed
    ) -> Trained:
        """The best point on the way back to the start."""
        if validate is None:
            raise InputError(
                "method rift: expected held-out images, since they choose how far it goes back; got none"
            )
        scores = validated_line(trained, start, self.steps, validate, seed)
        before = scores[0][1]  # alpha 0, so that at least the start is allowed
        allowed = [(a, point) for a, point in scores if point["robust"] >= before["robust"] - self.tolerance]
        # Of equal clean accuracies the one nearest to the start.
        alpha, after = max(allowed, key=lambda candidate: (candidate[1]["clean"], -candidate[0]))
        note = (
            f"alpha {alpha:g} of the way to the fine-tuned weights: on held-out images clean"
            f" {before['clean']:.1%} to {after['clean']:.1%}, robust {before['robust']:.1%} to"
            f" {after['robust']:.1%}"
        )
        best = interpolated(start, trained.best, alpha)
        return replace(trained, best=best, notes=(*trained.notes, note))
