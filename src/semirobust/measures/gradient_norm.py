"""The gradient of the robust loss in the weights of each layer, relative to these."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from semirobust.core.errors import InputError
from semirobust.layers.quiet import quiet
from semirobust.layers.scores import LayerScores
from semirobust.measures import MEASURES
from semirobust.measures.base.measure import AbstractLayerMeasure, MeasureContext

__all__ = ["GradientNorm"]


@MEASURES.register("gradient-norm")
@dataclass(frozen=True)
class GradientNorm(AbstractLayerMeasure):
    """||g_l|| / ||w_l||, g_l the gradient of the mean cross entropy on adversarial examples in the weight of
    layer l; eval mode.

    Source: the relative gradient norm by which Lee et al. (2023, "Surgical fine-tuning") choose the layers to
    tune, here of the robust loss. The interval is by a bootstrap over parts of the examples. Weights that are
    all 0 have no such ratio.

    Args:
        parts: number of parts; of each the gradient of all weights is stored.
        resamples: of the bootstrap.
    """

    parts: int = 8
    resamples: int = 1000

    def __post_init__(self) -> None:
        if self.parts < 1 or self.resamples < 1:
            raise InputError(
                f"parts and resamples: expected at least 1, got {self.parts} and {self.resamples}"
            )

    def scores(self, context: MeasureContext) -> list[LayerScores]:
        model, layers, x, y = context.model, context.layers, context.x, context.y
        # A layer whose weights are computed from others has none of its own.
        indices = tuple(layer.index for layer in layers if layer.weights)
        weights = [model.get_parameter(layers.at(index).weights[0]) for index in indices]
        size = math.ceil(len(x) / self.parts)
        gradients: list[list[Tensor]] = [[] for _ in weights]
        with quiet(model):
            for weight in weights:
                weight.requires_grad_(True)
            for number, (a, b) in enumerate(zip(context.x_adv.split(size), y.split(size), strict=True), 1):
                with torch.enable_grad():
                    loss = F.cross_entropy(model(a), b, reduction="sum") / len(x)
                    new = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
                for parts, gradient in zip(gradients, new, strict=True):
                    parts.append(gradient.flatten())
                context.progress("gradient-norm", number, self.parts)
        count = len(gradients[0])
        rng = np.random.default_rng(context.seed.integer)
        draws = np.stack(
            [np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(self.resamples)]
        )
        rows = []
        for parts, weight in zip(gradients, weights, strict=True):
            stacked = torch.stack(parts).double()
            # Norms of sums of parts follow from the products between parts.
            length = float(weight.detach().double().square().sum())
            products = (
                (stacked @ stacked.T).cpu().numpy() / length if length else np.full((count, count), np.nan)
            )
            if not np.isfinite(products).all():
                rows.append((math.nan, math.nan, math.nan))
                continue
            boot = np.sqrt(np.maximum(np.einsum("ri,ij,rj->r", draws, products, draws), 0))
            rows.append((math.sqrt(max(float(products.sum()), 0.0)), *np.quantile(boot, (0.025, 0.975))))
        found = LayerScores.from_rows(
            "gradient-norm", rows, indices=indices, examples=len(x), layers=len(layers)
        )
        return [found.explained("the weights of such a layer are all 0, or its gradient is not finite")]
