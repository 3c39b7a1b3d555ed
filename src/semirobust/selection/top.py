"""The highest scores."""

from dataclasses import dataclass

from semirobust.core.seed import Seed
from semirobust.selection import SELECTIONS
from semirobust.selection.base.selection import AbstractSelection

__all__ = ["Top"]


@SELECTIONS.register("top")
@dataclass(frozen=True)
class Top(AbstractSelection):
    """The layers with the highest scores: critical layers as CLAT selects them (CLAT, section 3.3)."""

    def choose(self, ranking: tuple[int, ...], count: int, seed: Seed) -> tuple[int, ...]:
        return ranking[:count]
