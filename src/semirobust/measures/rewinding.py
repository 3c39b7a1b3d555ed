"""What robust accuracy is lost where one layer is set back to weights that were never trained."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from semirobust.core.checks import check_counts
from semirobust.core.interval import mean_interval
from semirobust.core.seed import Seed
from semirobust.layers.layer import Layer
from semirobust.layers.quiet import quiet
from semirobust.layers.scores import LayerScores
from semirobust.measures import MEASURES
from semirobust.measures.base.measure import AbstractLayerMeasure, MeasureContext
from semirobust.models.checkpoint import load_checkpoint

__all__ = ["Rewinding"]


@MEASURES.register("rewinding")
@dataclass(frozen=True)
class Rewinding(AbstractLayerMeasure):
    """D_l = A(w) - A(w with layer l set back), A the accuracy under the attack, which is run anew against
    each network.

    Source: Zhang, Bengio & Singer 2019 ("Are all layers created equal?"), and module criticality by rewinding
    (Chatterji et al. 2020), of which this is the end of the path, alpha = 0. Both take clean accuracy; under
    attack it is ours. With ``initial`` the layer gets the weights that training began with
    (re-initialisation). Without, it gets new ones from the distribution of its modules (re-randomisation);
    the mean over ``draws`` is given. Norm, bias, projections and batch statistics go back with the weights.

    By-product: ``clean``, the same of clean accuracy.

    Args:
        initial: a file with the weights before training; none draws new ones.
        draws: how many of these.
        batch_size: examples in a pass.
    """

    initial: str = ""
    draws: int = 3
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_counts(1, draws=self.draws, batch_size=self.batch_size)

    def scores(self, context: MeasureContext) -> list[LayerScores]:
        layers, other = context.layers, copy.deepcopy(context.model)
        first = None
        if self.initial:
            first = load_checkpoint(copy.deepcopy(context.model), Path(self.initial)).state_dict()
        draws = 1 if first is not None else self.draws
        base = self._right(other, context, context.x_adv), self._right(other, context, context.x)
        rows: list[list[tuple[float, float, float]]] = [[], []]
        for number, layer in enumerate(layers, 1):
            lost = [self._lost(other, layer, first, base, context, draw) for draw in range(draws)]
            for row, each in zip(rows, zip(*lost, strict=True), strict=True):
                # Of each example the mean over draws, so that the interval is over examples.
                mean = np.mean(each, axis=0) if all(part is not None for part in each) else None
                row.append(_number(mean))
            context.progress("rewinding", number, len(layers))
        why = "it cannot draw its weights anew; give the weights before training as rewinding.initial"
        found = [
            LayerScores.from_rows(
                "rewinding",
                row,
                part=part,
                indices=layers.indices,
                examples=len(context.x),
                layers=len(layers),
                names=layers.names(layers.indices),
            )
            for part, row in zip(("", "clean"), rows, strict=True)
        ]
        return [found[0].explained(why), found[1]]

    def _lost(
        self,
        model: nn.Module,
        layer: Layer,
        first: dict[str, Tensor] | None,
        base: tuple[Tensor, Tensor],
        context: MeasureContext,
        draw: int,
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """For each example what is lost under attack and without: 1, 0 or -1, (N,)."""
        seed = context.seed / layer.index / draw
        names = {
            *layer.parameters,
            *(n for n, _ in model.named_buffers() if n.rpartition(".")[0] in layer.modules),
        }
        before = {name: tensor.clone() for name, tensor in model.state_dict().items() if name in names}
        try:
            if first is not None:
                _put(model, {name: first[name] for name in before})
            elif not _redraw(model, layer, seed / "weights"):
                return None, None
            x_adv = context.attack.in_batches(model, context.x, context.y, seed=seed / "attack")
            now = self._right(model, context, x_adv), self._right(model, context, context.x)
        finally:
            _put(model, before)
        robust, clean = (b.double() - n.double() for b, n in zip(base, now, strict=True))
        return robust.cpu().numpy(), clean.cpu().numpy()

    def _right(self, model: nn.Module, context: MeasureContext, x: Tensor) -> Tensor:
        """(N,) whether the network is right on ``x``."""
        with quiet(model), torch.no_grad():
            logits = torch.cat([model(part) for part in x.split(self.batch_size)])
        return logits.argmax(1) == context.y


def _number(values: np.ndarray | None) -> tuple[float, float, float]:
    if values is None:
        return (math.nan,) * 3
    return float(values.mean()), *mean_interval(values.tolist())


def _put(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    state = model.state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            state[name].copy_(tensor)


def _redraw(model: nn.Module, layer: Layer, seed: Seed) -> bool:
    """Draw the parameters of the layer's modules anew; False where a module with parameters cannot."""
    modules = [model.get_submodule(name) for name in layer.modules]
    own = [m for m in modules if next(m.parameters(recurse=False), None) is not None]
    if not own or not all(callable(getattr(m, "reset_parameters", None)) for m in own):
        return False
    with seed.globally():
        for module in own:
            module.reset_parameters()  # type: ignore[operator]
    return True
