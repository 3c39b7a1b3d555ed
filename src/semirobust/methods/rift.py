"""Fine-tuning where it costs no robustness, and only as far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.methods import METHODS
from semirobust.methods.base.layer_choice import ChosenLayers
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives.standard import Standard
from semirobust.training.training import Trained, Validate

__all__ = ["RiFT", "interpolated", "on_the_way"]


@METHODS.register("rift")
@dataclass(frozen=True)
class RiFT(AbstractMethod):
    """Train the layer whose weights matter least for robustness on clean images, then go back part of the
    way.

    Source: RiFT (Zhu et al. 2023). The layer has the lowest module robust criticality
    (:class:`semirobust.measures.weight_criticality.WeightCriticality`); the final weights are w0 + alpha (w1
    - w0) with w0 from before and w1 from the best epoch by clean accuracy, batch statistics included. Theirs
    picks alpha by eye on the test images; here it is the one of highest clean accuracy on held-out images
    among those that lose at most ``tolerance`` of robust accuracy there (ours). Frozen layers keep their
    batch statistics, which move in theirs.

    Args:
        layers, selection, k, examples, criterion: as in
            :class:`semirobust.methods.base.layer_choice.ChosenLayers`.
        steps: alpha is a multiple of 1 / steps; 10 in the authors' code.
        tolerance: robust accuracy that may be lost on held-out images, a share.
    """

    layers: Sequence[int] | None = None
    selection: str = "bottom"
    k: int | None = 1
    examples: int = 512
    criterion: str = "weight-criticality"
    steps: int = 10
    tolerance: float = 0.0

    def plan(self, context: Context) -> Plan:
        if self.steps < 1 or not 0 <= self.tolerance <= 1:
            raise InputError(
                f"steps and tolerance: expected at least 1 and a share, got {self.steps} and {self.tolerance}"
            )
        chosen = ChosenLayers(
            self.layers, self.selection, self.k, 0, self.examples, "paper", "input", criterion=self.criterion
        )
        return Plan(Standard(), chosen.trainable(context), after=self._go_back)

    def _go_back(
        self, trained: Trained, start: Mapping[str, Tensor], validate: Validate | None, seed: Seed
    ) -> Trained:
        """The best point on the way back to the start."""
        if validate is None:
            raise InputError(
                "method rift: expected held-out images, since they choose how far it goes back; got none"
            )
        scores = on_the_way(trained, start, self.steps, validate, seed)
        before = scores[0][1]
        allowed = [found for found in scores if found[1]["robust"] >= before["robust"] - self.tolerance]
        alpha, after = max(allowed, key=lambda found: (found[1]["clean"], -found[0]))
        note = (
            f"alpha {alpha:g} of the way to the fine-tuned weights: on held-out images clean"
            f" {before['clean']:.1%} to {after['clean']:.1%}, robust {before['robust']:.1%} to"
            f" {after['robust']:.1%}"
        )
        best = interpolated(start, trained.best, alpha)
        return replace(trained, best=best, notes=(*trained.notes, note))


def on_the_way(
    trained: Trained, start: Mapping[str, Tensor], steps: int, validate: Validate, seed: Seed
) -> list[tuple[float, Mapping[str, float]]]:
    """alpha in steps from 0, the weights before training, to 1, those of the best epoch, with what they
    validate as.
    """
    model, last = trained.model, {name: tensor.clone() for name, tensor in trained.model.state_dict().items()}
    scores: list[tuple[float, Mapping[str, float]]] = []
    for step in range(steps + 1):
        model.load_state_dict(interpolated(start, trained.best, step / steps))
        scores.append((step / steps, validate(model.eval(), seed)))
    model.load_state_dict(last)
    return scores


def interpolated(start: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: float) -> dict[str, Any]:
    """``start + alpha (end - start)``, of whole numbers ``end``."""
    with torch.no_grad():
        return {
            n: torch.lerp(t, end[n].to(t), alpha) if t.is_floating_point() else end[n]
            for n, t in start.items()
        }
