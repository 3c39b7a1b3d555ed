"""By how much small changes of a layer's weights can raise the robust loss: module robust criticality."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.core.errors import InputError
from semirobust.core.interval import mean_interval
from semirobust.core.seed import Seed
from semirobust.layers.map import LayerMap
from semirobust.layers.quiet import quiet
from semirobust.layers.scores import LayerScores
from semirobust.measures import MEASURES
from semirobust.measures.base.measure import AbstractLayerMeasure, MeasureContext

__all__ = ["WeightCriticality"]


@MEASURES.register("weight-criticality")
@dataclass(frozen=True)
class WeightCriticality(AbstractLayerMeasure):
    """MRC_l = max over ||v||_F <= radius ||w_l||_F of L(w + v in layer l) - L(w), L the loss on adversarial
    examples of w.

    Source: RiFT (Zhu et al. 2023), equation 2, as its code computes it. The weight tensor of the layer (no
    bias, no norm) ascends the cross entropy on one fixed set of adversarial examples, by plain gradient steps
    in eval mode. After each pass over the set it is projected onto the ball; the highest loss after any pass
    counts. A low value means that the layer can be tuned without loss of robustness. The authors attack the
    test images once; here the given images are taken. The interval is over these, at the worst weights.

    Args:
        radius: of the ball, as a fraction of the weight's norm; 0.1 in the authors' code.
        passes: over the examples; 10 in the authors' code.
        rate: step size of the ascent; 1 in the authors' code.
        batch_size: of the ascent; 512 in the authors' code.
    """

    radius: float = 0.1
    passes: int = 10
    rate: float = 1.0
    batch_size: int = 512

    def __post_init__(self) -> None:
        if not self.radius > 0 or self.passes < 1 or not self.rate > 0 or self.batch_size < 1:
            given = (self.radius, self.passes, self.rate, self.batch_size)
            raise InputError(f"radius, passes, rate and batch_size: expected positive numbers, got {given}")

    def scores(self, context: MeasureContext) -> list[LayerScores]:
        model, layers, y, x_adv = context.model, context.layers, context.y, context.x_adv
        with quiet(model):
            base = _losses(model, x_adv, y, self.batch_size)
        rows = []
        # A layer whose weights are computed from others has none to move.
        measured = tuple(layer.index for layer in layers if layer.weights)
        for number, index in enumerate(measured, 1):
            worst = self._worst(model, layers, index, x_adv, y, context.seed / index)
            rises = (worst - base).double().tolist()
            number_here = (sum(rises) / len(rises), *mean_interval(rises))
            still = not bool(model.get_parameter(layers.at(index).weights[0]).any())
            rows.append((math.nan,) * 3 if still else number_here)
            context.progress("weight-criticality", number, len(measured))
        found = LayerScores.from_rows(
            "weight-criticality",
            rows,
            unit="nats",
            indices=measured,
            examples=len(x_adv),
            layers=len(layers),
        )
        why = "the weights of such a layer are all 0, and a ball relative to them has no size, or the loss is"
        return [found.explained(f"{why} not finite")]

    def _worst(
        self, model: nn.Module, layers: LayerMap, index: int, x: Tensor, y: Tensor, seed: Seed
    ) -> Tensor:
        """The losses (N,) at the perturbation of the layer's weight whose mean loss is highest."""
        other = copy.deepcopy(model).eval().requires_grad_(False)
        weight = other.get_parameter(layers.at(index).weights[0])
        start, radius = weight.detach().clone(), self.radius * float(weight.detach().norm())
        worst: Tensor | None = None
        for number in range(self.passes):
            order = torch.randperm(len(x), generator=(seed / number).generator()).to(x.device)
            for rows in order.split(self.batch_size):
                weight.requires_grad_(True)
                with torch.enable_grad():
                    (gradient,) = torch.autograd.grad(F.cross_entropy(other(x[rows]), y[rows]), weight)
                weight.requires_grad_(False)
                weight.add_(gradient, alpha=self.rate)
            # Back onto the ball.
            change = weight - start
            weight.copy_(start + change * min(1.0, radius / max(float(change.norm()), 1e-30)))
            losses = _losses(other, x, y, self.batch_size)
            worst = losses if worst is None or losses.mean() > worst.mean() else worst
        assert worst is not None
        return worst


@torch.no_grad()
def _losses(model: nn.Module, x: Tensor, y: Tensor, batch_size: int) -> Tensor:
    """Cross entropy of each example: (N,)."""
    parts = zip(x.split(batch_size), y.split(batch_size), strict=True)
    return torch.cat([F.cross_entropy(model(a), b, reduction="none") for a, b in parts])
