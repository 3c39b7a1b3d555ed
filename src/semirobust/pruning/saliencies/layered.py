"""Saliency that prunes some layers before others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images
from semirobust.layers.map import LayerMap, layer_map
from semirobust.layers.quiet import quiet
from semirobust.measures import MEASURES, MeasureContext
from semirobust.pruning.saliencies import SALIENCIES
from semirobust.pruning.saliencies.base.saliency import AbstractSaliency, random_examples

__all__ = ["Layered"]

Favour = Literal["high", "low", "random", "none"]


@SALIENCIES.register("layered")
@dataclass(frozen=True)
class Layered(AbstractSaliency):
    """Another saliency, divided by its mean in the layer, times a factor for the layer.

    The factor is strength ** (r - 1/2), where r, from 0 to 1, is the layer's rank by a measure of layers. So
    ``criticality`` with ``favour="high"`` prunes layers first that are not critical. Source: ours.

    Args:
        measure: a measure by layer, with ``measure_options``. A layer that it does not score has r = 1/2.
        score: which of its scores, such as ``semirobustness.drop``; the first where empty.
        favour: which layers keep more weights: those of ``high`` score, of ``low`` score, ``random`` ones, or
            ``none``, the control that divides by the layer's mean alone.
        strength: the ratio between the factors of the most and the least favoured layer, above 0.
        saliency: of the weights within a layer.
        examples: the number of training images for the measure, drawn at random.

    Raises:
        InputError: a value out of its range, or a measure is asked for without an attack.
    """

    measure: str = "criticality"
    measure_options: Mapping[str, Any] = field(default_factory=dict)
    score: str = ""
    favour: Favour = "high"
    strength: float = 4.0
    saliency: str = "magnitude"
    examples: int = 256
    comparable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.strength > 0 or self.examples < 1:
            raise InputError(
                f"strength and examples: expected above 0 and at least 1, got {self.strength} and"
                f" {self.examples}"
            )
        MEASURES.make(self.measure, self.measure_options)
        if self.saliency not in SALIENCIES.names() or self.saliency in ("layered", "usefulness"):
            raise InputError(
                "saliency: expected one of single weights, such as magnitude or gradient; got"
                f" {self.saliency!r}"
            )

    def __call__(
        self,
        model: nn.Module,
        weights: Mapping[str, Tensor],
        images: Images,
        attack: AbstractAttack | None,
        seed: Seed,
    ) -> dict[str, Tensor]:
        scores = SALIENCIES.make(self.saliency)(model, weights, images, attack, seed / "weights")
        x, y = random_examples(images, self.examples, model, seed)
        layers = layer_map(model, x[:1])
        ranks = self._ranks(model, layers, x, y, attack, seed)
        factors = {
            name: self.strength ** (ranks.get(layer.index, 0.5) - 0.5)
            for layer in layers
            for name in layer.weights
        }
        # The mean is over weights that remain: those pruned before have a score of 0.
        return {
            name: s * (factors.get(name, 1.0) / s[s > 0].mean()) if (s > 0).any() else s
            for name, s in scores.items()
        }

    def _ranks(
        self,
        model: nn.Module,
        layers: LayerMap,
        x: Tensor,
        y: Tensor,
        attack: AbstractAttack | None,
        seed: Seed,
    ) -> dict[int, float]:
        """Layer index -> rank from 0, which loses the most weights, to 1."""
        if self.favour == "none":
            return {}
        if self.favour == "random":
            order = torch.randperm(len(layers), generator=(seed / "layers").generator()).tolist()
            return {
                index: position / max(1, len(order) - 1)
                for index, position in zip(layers.indices, order, strict=True)
            }
        if attack is None:
            raise InputError("saliency layered: expected an attack for the measure of layers")
        with quiet(model):
            x_adv = attack.in_batches(model, x, y, seed=seed / "attack")
            measure = MEASURES.make(self.measure, self.measure_options)
            scores = measure(MeasureContext(model, layers, x, y, x_adv, attack, seed / "measure"))
        known = [one.name for one in scores]
        if self.score and self.score not in known:
            raise InputError(f"score: expected one of {', '.join(known)}; got {self.score!r}")
        by_layer = scores[known.index(self.score) if self.score else 0]
        sign = 1 if self.favour == "high" else -1
        numbers = {index: sign * value for index, value in by_layer.by_index().items() if value == value}
        if len(numbers) < 2:
            return {}
        ranks = rankdata(list(numbers.values()))  # equal scores get equal ranks
        return {
            index: (float(rank) - 1) / (len(ranks) - 1) for index, rank in zip(numbers, ranks, strict=True)
        }
