"""The highest scores within a budget."""

from dataclasses import dataclass

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.layers.map import LayerMap
from semirobust.layers.scores import LayerScores
from semirobust.selection import SELECTIONS
from semirobust.selection.base.budgeted import AbstractBudgetedSelection
from semirobust.selection.base.costs import shares_of

__all__ = ["Budget"]


@SELECTIONS.register("budget")
@dataclass(frozen=True)
class Budget(AbstractBudgetedSelection):
    """Layers from the highest score on, each taken where it fits into what is left of the budget (ours).

    Args:
        share: of the parameters (or MACs) of all layers, from above 0 to 1.
        cost: ``parameters`` or ``macs``.
    """

    def pick(
        self, scores: LayerScores, candidates: tuple[int, ...], seed: Seed, layers: LayerMap | None
    ) -> tuple[int, ...]:
        costs, chosen, left = shares_of(layers, self.cost), list[int](), self.share
        for index in candidates:
            if costs[index] <= left + 1e-12:
                chosen.append(index)
                left -= costs[index]
        if not chosen:
            least = min((costs[i] for i in candidates), default=1.0)
            raise InputError(
                f"share: expected at least {least:.2g}, which the smallest layer takes of all {self.cost};"
                f" got {self.share:g}"
            )
        return tuple(chosen)
