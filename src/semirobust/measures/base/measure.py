"""The form of every measure by layer."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from semirobust.attacks import AbstractAttack
from semirobust.core.progress import Progress, silent
from semirobust.core.seed import Seed
from semirobust.layers.map import LayerMap
from semirobust.layers.scores import LayerScores

__all__ = ["AbstractLayerMeasure"]


@dataclass(frozen=True)
class AbstractLayerMeasure(ABC):
    """One number for each layer of a model on a set of examples."""

    @property
    def least_examples(self) -> int:
        """How many examples it needs."""
        return 1

    @abstractmethod
    def scores(
        self,
        model: nn.Module,
        layers: LayerMap,
        x: Tensor,
        y: Tensor,
        x_adv: Tensor,
        *,
        attack: AbstractAttack,
        seed: Seed,
        progress: Progress = silent,
    ) -> list[LayerScores]:
        """The measure, and by-products worth showing, on clean ``x``, their labels and perturbed ``x_adv``
        (N, ...).

        ``attack`` is what perturbed them, for measures that must attack something else than the model's
        output."""
