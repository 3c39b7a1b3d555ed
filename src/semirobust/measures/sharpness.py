"""By how much one step on the weights of a layer raises the robust loss."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semirobust.core.checks import check_counts
from semirobust.core.errors import InputError
from semirobust.core.interval import mean_interval
from semirobust.layers.quiet import quiet
from semirobust.layers.scores import LayerScores
from semirobust.measures import MEASURES
from semirobust.measures.base.measure import AbstractLayerMeasure, MeasureContext

__all__ = ["Sharpness"]


@MEASURES.register("sharpness")
@dataclass(frozen=True)
class Sharpness(AbstractLayerMeasure):
    """S_l = L(w + v in layer l) - L(w), v = rho g_l / ||g_l||_2, L the mean cross entropy on adversarial
    examples of w.

    Source: SAFER (Gopal et al. 2025) tunes the sharpest layers. Its own formula could not be established;
    this one is ours: the step of sharpness-aware minimisation (Foret et al. 2021) on the parameters of one
    layer, which are its weights, norm and bias, in eval mode. Unit: nats. The interval is over examples, at
    that step.

    Args:
        rho: length of the step; 0.05 as in sharpness-aware minimisation.
        batch_size: examples in a pass.
    """

    rho: float = 0.05
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_counts(1, batch_size=self.batch_size)
        if not self.rho > 0:
            raise InputError(f"rho: expected more than 0, got {self.rho}")

    def scores(self, context: MeasureContext) -> list[LayerScores]:
        layers = context.layers
        with quiet(context.model):
            other = copy.deepcopy(context.model)
        base, gradients = self._losses(other, context), self._gradients(other, context)
        rows = []
        for number, layer in enumerate(layers, 1):
            own = {name: gradients[name] for name in layer.parameters if name in gradients}
            length = math.sqrt(sum(float(g.double().square().sum()) for g in own.values()))
            if length == 0 or not math.isfinite(length):
                rows.append((math.nan,) * 3)
                continue
            before = {name: other.get_parameter(name).detach().clone() for name in own}
            with torch.no_grad():
                for name, g in own.items():
                    other.get_parameter(name).add_(g, alpha=self.rho / length)
            rises = (self._losses(other, context) - base).double().tolist()
            with torch.no_grad():
                for name, value in before.items():
                    other.get_parameter(name).copy_(value)
            rows.append((sum(rises) / len(rises), *mean_interval(rises)))
            context.progress("sharpness", number, len(layers))
        found = LayerScores.from_rows(
            "sharpness",
            rows,
            unit="nats",
            indices=layers.indices,
            examples=len(context.x),
            layers=len(layers),
            names=layers.names(layers.indices),
        )
        return [found.explained("the gradient of its parameters is 0 or not finite")]

    def _losses(self, model: nn.Module, context: MeasureContext) -> Tensor:
        """Cross entropy of each adversarial example: (N,)."""
        parts = zip(context.x_adv.split(self.batch_size), context.y.split(self.batch_size), strict=True)
        with quiet(model), torch.no_grad():
            return torch.cat([F.cross_entropy(model(a), b, reduction="none") for a, b in parts])

    def _gradients(self, model: nn.Module, context: MeasureContext) -> dict[str, Tensor]:
        """Of the mean loss in each parameter that takes one, by name."""
        found: dict[str, Tensor] = {}
        parts = zip(context.x_adv.split(self.batch_size), context.y.split(self.batch_size), strict=True)
        with quiet(model):
            named = {n: p.requires_grad_(True) for n, p in model.named_parameters() if p.is_floating_point()}
            for a, b in parts:
                with torch.enable_grad():
                    loss = F.cross_entropy(model(a), b, reduction="sum") / len(context.x)
                new = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
                for name, gradient in zip(named, new, strict=True):
                    if gradient is not None:
                        found[name] = found[name] + gradient if name in found else gradient
        return found
