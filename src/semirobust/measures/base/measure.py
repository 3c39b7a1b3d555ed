"""The abstract class of every measure by layer, and the context in which one is taken."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.core.errors import InputError
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed
from semirobust.core.typed import Typed, returned
from semirobust.layers.map import LayerMap
from semirobust.layers.scores import LayerScores

__all__ = ["AbstractLayerMeasure", "MeasureContext"]


@dataclass(frozen=True)
class MeasureContext:
    """What a measure may look at.

    Attributes:
        model: gives logits (N, C); in eval mode. A measure leaves it as it was.
        layers: its layer map.
        x: (N, ...) clean inputs.
        y: (N,) their labels.
        x_adv: (N, ...) the same inputs, perturbed by ``attack`` against the output of ``model``.
        attack: for measures that attack something else than the output, such as a feature.
        seed: the only source of randomness.
        progress: told how far the measure is.
    """

    model: nn.Module = field(repr=False)
    layers: LayerMap = field(repr=False)
    x: Tensor = field(repr=False)
    y: Tensor = field(repr=False)
    x_adv: Tensor = field(repr=False)
    attack: AbstractAttack
    seed: Seed
    progress: Progress = field(default=silent, repr=False)


@dataclass(frozen=True)
class AbstractLayerMeasure(Typed, ABC):
    """One number for each layer of a model, measured on a set of examples."""

    like: ClassVar[str] = "Criticality()"

    @property
    def min_examples(self) -> int:
        """How many examples it needs at least."""
        return 1

    def __call__(self, context: MeasureContext) -> list[LayerScores]:
        """:meth:`scores`, looked at, since the measure may be another package's.

        Raises:
            InputError: it gives something else than scores by layer, or none.
        """
        found = returned(self.scores(context), list[LayerScores], self)
        if not found:
            raise InputError(f"{type(self).__name__}: expected scores by layer, got none")
        return found

    @abstractmethod
    def scores(self, context: MeasureContext) -> list[LayerScores]:
        """The measure itself first, then its by-products."""
