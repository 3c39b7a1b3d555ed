"""The two bounds on the performance difference, for networks that differ from the robust one in a suffix."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.core.seed import Seed
from semirobust.data.base.images import Images
from semirobust.evaluation.bounds import PerformanceBounds, performance_bounds, sharpness
from semirobust.layers.map import LayerMap
from semirobust.layers.quiet import device_of
from semirobust.records.about import When
from semirobust.records.schema import About, Number, Origin, Quantity
from semirobust.records.store import AnyRecord

__all__ = ["SuffixBounds"]


@dataclass
class SuffixBounds:
    """Compares networks with f* on adversarial examples of f*, which are made once, as is each curvature.

    Args:
        robust: f*.
        layers: its layer map.
        images: those to compare on.
        attack: makes their adversarial examples.
        seed: of the attack and of the first vector of the eigenvalue.
        at: the origin of records.
    """

    robust: nn.Module
    layers: LayerMap
    images: Images
    attack: AbstractAttack
    seed: Seed
    at: Origin
    _examples: Tensor | None = None
    _curvatures: dict[tuple[int, ...], float] = field(default_factory=dict)

    def compare(self, model: nn.Module, suffix: tuple[int, ...]) -> PerformanceBounds:
        """A network that differs from f* in the layers of ``suffix``, beside f*."""
        x, y = self.images.all(device_of(self.robust, torch.device("cpu")))
        if self._examples is None:
            self._examples = self.attack.in_batches(self.robust, x, y, seed=self.seed / "attack")
        if suffix not in self._curvatures:
            names = self.layers.parameters(suffix)
            self._curvatures[suffix] = sharpness(self.robust, self._examples, y, names, seed=self.seed)
        return performance_bounds(
            model,
            self.robust,
            self._examples,
            y,
            suffix,
            curvature=self._curvatures[suffix],
            layer_map_=self.layers,
        )

    def records(
        self, networks: Mapping[When, nn.Module], suffix: tuple[int, ...], about: About
    ) -> list[AnyRecord]:
        """Both bounds of each network, such as the semirobust one before and after its training."""
        records: list[AnyRecord] = []
        for when, network in networks.items():
            records += _bound_records(self.compare(network, suffix), replace(about, when=when), self.at)
        return records


def _bound_records(found: PerformanceBounds, about: About, at: Origin) -> list[AnyRecord]:
    values = {
        Quantity.LOSS_DIFFERENCE: found.loss,
        Quantity.GRADIENT_TERM: found.gradient_term,
        Quantity.SHARPNESS: found.sharpness,
        Quantity.PARAMETER_DISTANCE: found.distance,
        Quantity.QUADRATIC_BOUND: found.quadratic,
        Quantity.OUTPUT_DISTANCE: found.output,
        Quantity.PEELING_BOUND: found.peeling,
        Quantity.TELESCOPED_BOUND: found.telescoped,
        Quantity.BUFFERS_DIFFER: float(found.buffers),
    }
    return [Number(quantity=q, value=v, about=about, origin=at) for q, v in values.items()]
