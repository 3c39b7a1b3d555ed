"""By how much an attack changes the representation of each layer, relative to it."""

from dataclasses import dataclass

import numpy as np
import torch

from semirobust.core.checks import check_counts
from semirobust.layers.features import Place, check_place, features, indices_at
from semirobust.layers.quiet import quiet
from semirobust.layers.reach import without_effect
from semirobust.layers.scores import LayerScores
from semirobust.measures import MEASURES
from semirobust.measures.base.bootstrap import bootstrap_means
from semirobust.measures.base.measure import AbstractLayerMeasure, MeasureContext

__all__ = ["Sustainability"]


@MEASURES.register("sustainability")
@dataclass(frozen=True)
class Sustainability(AbstractLayerMeasure):
    """CM_l = ||F_l(x_adv) - F_l(x)|| / ||F_l(x)||, norms over all values of all examples: high is vulnerable.

    Source: layer sustainability analysis (LSA; Khalooei et al. 2022), whose comparison measure is this
    relative error. Its code takes it behind each ReLU, so the default is the ``input`` of the next layer; of
    few examples, so the norms there are of one batch. The interval is by a bootstrap over examples (ours).
    A layer whose feature is all 0, or does not depend on the layer, has no number.

    Args:
        at: where the feature of layer l is taken: ``input``, ``conv`` or ``block``.
        batch_size: examples in a forward pass.
        resamples: of the bootstrap.
    """

    at: Place = "input"
    batch_size: int = 64
    resamples: int = 1000

    def __post_init__(self) -> None:
        check_place(self.at)
        check_counts(1, batch_size=self.batch_size, resamples=self.resamples)

    def scores(self, context: MeasureContext) -> list[LayerScores]:
        model, layers, x = context.model, context.layers, context.x
        indices, rows = indices_at(layers, self.at), []
        with quiet(model), torch.no_grad(), features(model, layers, at=self.at) as tape:
            for start in range(0, len(x), self.batch_size):
                part = slice(start, start + self.batch_size)
                model(x[part])
                clean = {i: tape[i] for i in indices}
                model(context.x_adv[part])
                raw, n = self.at == "conv", len(x[part])
                pairs = [(layers.at(i), tape[i] - clean[i], clean[i]) for i in indices]
                squares = [
                    torch.stack([each.per_example(t, n, raw=raw).double().square().sum(1) for t in (d, f)])
                    for each, d, f in pairs
                ]
                rows.append(torch.stack(squares, 2).cpu())
                context.progress("sustainability", min(start + self.batch_size, len(x)), len(x))
        changes, sizes = torch.cat(rows, 1).numpy()
        unit = self.batch_size if len(x) >= 8 * self.batch_size else 1
        draws = bootstrap_means(np.stack([changes, sizes]), unit, self.resamples, context.seed)
        still = () if self.at == "conv" else without_effect(model, layers, x, indices)
        with np.errstate(divide="ignore", invalid="ignore"):
            values, boot = np.sqrt(changes.sum(0) / sizes.sum(0)), np.sqrt(draws[0] / draws[1])
            low, high = np.quantile(boot, (0.025, 0.975), axis=0)
        missing = np.isin(indices, still) | ~np.isfinite(values)
        found = LayerScores.from_rows(
            "sustainability",
            np.where(missing, np.nan, np.stack([values, low, high])).T.tolist(),
            indices=indices,
            examples=len(x),
            layers=len(layers),
            names=layers.names(indices),
        )
        return [found.explained("its feature is all 0, not finite, or does not depend on it")]
