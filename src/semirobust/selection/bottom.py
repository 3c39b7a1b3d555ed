"""The lowest scores."""

from dataclasses import dataclass

from semirobust.core.seed import Seed
from semirobust.selection import SELECTIONS
from semirobust.selection.base.selection import AbstractSelection

__all__ = ["Bottom"]


@SELECTIONS.register("bottom")
@dataclass(frozen=True)
class Bottom(AbstractSelection):
    """The layers with the lowest scores: the control of CLAT, table 20."""

    def choose(self, ranking: tuple[int, ...], count: int, seed: Seed) -> tuple[int, ...]:
        return ranking[-count:]
