"""The layers whose scores sum to most within a budget."""

from dataclasses import dataclass

import numpy as np

from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.layers.map import LayerMap
from semirobust.layers.scores import LayerScores
from semirobust.selection import SELECTIONS
from semirobust.selection.base.budgeted import AbstractBudgetedSelection
from semirobust.selection.base.costs import shares_of

__all__ = ["Knapsack"]


@SELECTIONS.register("knapsack")
@dataclass(frozen=True)
class Knapsack(AbstractBudgetedSelection):
    """argmax over S of sum_{l in S} score_l, with sum_{l in S} cost_l <= share of all, exactly (ours).

    The score is read as what a layer's training gains. Solved as an integer program by SciPy. Layers whose
    score is not above 0 are never taken.

    Args:
        share: of the parameters (or MACs) of all layers, from above 0 to 1.
        cost: ``parameters`` or ``macs``.
    """

    def pick(
        self, scores: LayerScores, candidates: tuple[int, ...], seed: Seed, layers: LayerMap | None
    ) -> tuple[int, ...]:
        from scipy.optimize import Bounds, LinearConstraint, milp

        costs, values = shares_of(layers, self.cost), scores.by_index()
        able = [i for i in sorted(candidates) if values[i] > 0 and costs[i] <= self.share]
        if not able:
            raise InputError(
                f"share: expected one that some layer with a score above 0 fits into; got {self.share:g} of"
                f" all {self.cost}"
            )
        gains = np.array([values[i] for i in able])
        gains = gains / gains.max()  # so that tolerances fit any unit
        found = milp(
            -gains,
            constraints=LinearConstraint(np.array([[costs[i] for i in able]]), ub=self.share),
            integrality=np.ones(len(able)),
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": 0.0},
        )
        if found.x is None:
            raise RuntimeError(f"the integer program has no solution: {found.message}")
        return tuple(i for i, taken in zip(able, found.x, strict=True) if taken > 0.5)
