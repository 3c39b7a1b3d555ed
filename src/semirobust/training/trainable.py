"""Which layers train, epoch by epoch."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from torch import nn

from semirobust.core.seed import Seed
from semirobust.core.typed import Typed
from semirobust.layers.freeze import Part
from semirobust.layers.map import LayerMap
from semirobust.layers.scores import LayerScores
from semirobust.selection import AbstractLayerSelection

__all__ = [
    "AbstractTrainable",
    "All",
    "Choice",
    "Fixed",
    "Marked",
    "Probed",
    "Replayed",
    "Reselected",
    "Score",
]

Score = Callable[[nn.Module, Seed], LayerScores]
"""Measures the layers of a model without changing it."""


@dataclass(frozen=True)
class Choice:
    """The layers that train from an epoch on.

    Attributes:
        layers: their indices; None for the whole model.
        scores: what they were chosen by, if by scores.
        marked: the layers that the objective looks at; None for those that train.
    """

    layers: tuple[int, ...] | None
    scores: LayerScores | None = None
    marked: tuple[int, ...] | None = None


class AbstractTrainable(Typed, ABC):
    """Says at the start of an epoch which layers train from then on.

    Attributes:
        part: what trains of these layers, as in :func:`semirobust.layers.freeze.only_trainable`.
    """

    like: ClassVar[str] = "All()"

    part: Part = "layer"

    @abstractmethod
    def __call__(self, epoch: int, model: nn.Module, seed: Seed) -> Choice | None:
        """A choice; None keeps the last one. Epoch 0 must choose."""


@dataclass(frozen=True)
class All(AbstractTrainable):
    """Everything trains."""

    def __call__(self, epoch: int, model: nn.Module, seed: Seed) -> Choice | None:
        return Choice(None) if epoch == 0 else None


@dataclass(frozen=True)
class Fixed(AbstractTrainable):
    """The given layers train throughout."""

    layers: tuple[int, ...]
    part: Part = "layer"

    def __call__(self, epoch: int, model: nn.Module, seed: Seed) -> Choice | None:
        return Choice(self.layers) if epoch == 0 else None


@dataclass(frozen=True)
class Reselected(AbstractTrainable):
    """Layers are scored and chosen anew every few epochs (CLAT, algorithm 1).

    Args:
        score: measures the layers.
        selection: chooses among them.
        every: epochs from one choice to the next; 0 chooses once.
        part: as in :class:`AbstractTrainable`.
        layers: the layer map, for selections by what a layer costs.
    """

    score: Score = field(repr=False)
    selection: AbstractLayerSelection
    every: int = 10
    part: Part = "layer"
    layers: LayerMap | None = field(default=None, repr=False)

    def __call__(self, epoch: int, model: nn.Module, seed: Seed) -> Choice | None:
        if epoch and (self.every == 0 or epoch % self.every):
            return None
        scores = self.score(model, seed / "score")
        return Choice(self.selection(scores, seed / "select", self.layers), scores)


@dataclass(frozen=True)
class Probed(AbstractTrainable):
    """The classifier alone in the first epochs, then everything.

    Args:
        classifier: its layers.
        epochs: how many of these.
    """

    classifier: tuple[int, ...]
    epochs: int

    def __call__(self, epoch: int, model: nn.Module, seed: Seed) -> Choice | None:
        if epoch == self.epochs:
            return Choice(None)
        return Choice(self.classifier) if epoch == 0 else None


@dataclass(frozen=True)
class Marked(AbstractTrainable):
    """Everything trains, and the objective looks at the layers that another policy chooses.

    Args:
        chooses: that policy.
    """

    chooses: AbstractTrainable

    def __call__(self, epoch: int, model: nn.Module, seed: Seed) -> Choice | None:
        choice = self.chooses(epoch, model, seed)
        return None if choice is None else Choice(None, choice.scores, marked=choice.layers)


@dataclass(frozen=True)
class Replayed(AbstractTrainable):
    """The layers that another run trained, epoch by epoch: what makes a control train the same layers.

    Args:
        layers: for each epoch the layers that trained in it; the last entry holds on.
        part: as in :class:`AbstractTrainable`.
    """

    layers: tuple[tuple[int, ...] | None, ...]
    part: Part = "layer"

    def __call__(self, epoch: int, model: nn.Module, seed: Seed) -> Choice | None:
        now = self.layers[min(epoch, len(self.layers) - 1)]
        before = self.layers[min(epoch - 1, len(self.layers) - 1)] if epoch else None
        return Choice(now) if epoch == 0 or now != before else None
