"""The abstract class of every selection."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.core.typed import Typed, returned
from semirobust.layers.map import LayerMap
from semirobust.layers.scores import LayerScores

__all__ = ["AbstractLayerSelection", "AbstractSelection", "usual_count"]


_PAPERS = {121: 5}  # layers of the network -> how many the CLAT paper chooses, where that is not 5 %


def usual_count(layers: int) -> int:
    """How many of so many layers are chosen where nothing is said."""
    return _PAPERS.get(layers, math.ceil(0.05 * layers))


@dataclass(frozen=True)
class AbstractLayerSelection(Typed, ABC):
    """Chooses layers from their scores; one without a score (NaN) is never chosen.

    Args:
        classifier: whether the last layer may be chosen, and other heads where the logits are a mean; it is
            in none of the lists of the CLAT paper.
    """

    like: ClassVar[str] = "Top(k=3)"

    classifier: bool = field(default=False, kw_only=True)

    def __call__(self, scores: LayerScores, seed: Seed, layers: LayerMap | None = None) -> tuple[int, ...]:
        """Indices of the chosen layers, ascending.

        Args:
            scores: of the layers.
            seed: of what is drawn.
            layers: the layer map of the network, for selections by what a layer costs.

        Raises:
            InputError: the scores or the map do not allow what is asked for.
        """
        # ``measured`` runs from the highest score to the lowest.
        measured = scores.measured()
        heads = (scores.layers,) if layers is None else layers.classifier
        candidates = tuple(i for i in measured if self.classifier or i not in heads)
        chosen = returned(self.pick(scores, candidates, seed, layers), tuple[int, ...], self)
        if others := set(chosen) - set(candidates):
            raise InputError(
                f"{type(self).__name__}: expected a choice among the {len(candidates)} layers that have a"
                f" score and may be chosen, got {min(others)}"
            )
        return tuple(sorted(chosen))

    @abstractmethod
    def pick(
        self, scores: LayerScores, candidates: tuple[int, ...], seed: Seed, layers: LayerMap | None
    ) -> tuple[int, ...]:
        """The choice among ``candidates``, which have a score each, from the highest to the lowest."""


@dataclass(frozen=True)
class AbstractSelection(AbstractLayerSelection):
    """Chooses a number of layers from the order of their scores.

    Args:
        k: how many; None for 5 % of the layers, rounded up, as in the paper (CLAT, section 4.1). For the 121
            of a DenseNet-121 that would be 7, where the paper has 5, and so has None.
    """

    k: int | None = None

    def pick(
        self, scores: LayerScores, candidates: tuple[int, ...], seed: Seed, layers: LayerMap | None
    ) -> tuple[int, ...]:
        """As many as ``k`` says.

        Raises:
            InputError: fewer layers have a score.
        """
        count = usual_count(scores.layers) if self.k is None else self.k
        if not 1 <= count <= len(candidates):
            without = len(scores) - len(scores.measured())
            note = f" ({without} have no score)" if without else ""
            if not candidates:
                raise InputError(f"layers: expected at least one to choose, got none{note}")
            raise InputError(f"k: expected 1 to {len(candidates)} layers{note}, got {count}")
        return self.choose(candidates, count, seed)

    @abstractmethod
    def choose(self, ranking: tuple[int, ...], count: int, seed: Seed) -> tuple[int, ...]:
        """``count`` of the layers in ``ranking``, which is ordered from the highest score to the lowest."""
