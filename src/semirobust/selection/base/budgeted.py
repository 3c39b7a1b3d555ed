"""The abstract class of every selection within a share of what all layers cost."""

from dataclasses import dataclass

from semirobust.selection.base.costs import Cost, check_share
from semirobust.selection.base.selection import AbstractLayerSelection

__all__ = ["AbstractBudgetedSelection"]


@dataclass(frozen=True)
class AbstractBudgetedSelection(AbstractLayerSelection):
    """Chooses layers that together cost no more than a share of all.

    Args:
        share: of the parameters (or MACs) of all layers, from above 0 to 1.
        cost: ``parameters`` or ``macs``.
    """

    share: float = 0.05
    cost: Cost = "parameters"

    def __post_init__(self) -> None:
        check_share(self.share, self.cost)
