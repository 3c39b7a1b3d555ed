"""The fewest layers that hold a share of all scores."""

from dataclasses import dataclass

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.layers.map import LayerMap
from semirobust.layers.scores import LayerScores
from semirobust.selection import SELECTIONS
from semirobust.selection.base.costs import check_share
from semirobust.selection.base.selection import AbstractLayerSelection

__all__ = ["Cumulative"]


@SELECTIONS.register("cumulative")
@dataclass(frozen=True)
class Cumulative(AbstractLayerSelection):
    """Layers from the highest score on, until they hold ``share`` of the sum of all scores (ours).

    Negative scores count as 0. How many layers that are says how concentrated the scores are.

    Args:
        share: of the sum, from above 0 to 1.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        check_share(self.share)

    def pick(
        self, scores: LayerScores, candidates: tuple[int, ...], seed: Seed, layers: LayerMap | None
    ) -> tuple[int, ...]:
        values = scores.by_index()
        wanted = self.share * sum(max(values[i], 0.0) for i in candidates)
        if not 0 < wanted < float("inf"):
            raise InputError("scores: expected some above 0 and all finite, for a share of their sum")
        chosen, held = list[int](), 0.0
        for index in candidates:
            chosen.append(index)
            held += values[index]
            if held >= wanted * (1 - 1e-12):  # a share of 1 may be missed by rounding
                break
        return tuple(chosen)
