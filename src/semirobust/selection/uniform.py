"""A random choice."""

from dataclasses import dataclass

import torch

from semirobust.core.seed import Seed
from semirobust.selection import SELECTIONS
from semirobust.selection.base.selection import AbstractSelection

__all__ = ["Uniform"]


@SELECTIONS.register("random")
@dataclass(frozen=True)
class Uniform(AbstractSelection):
    """Layers drawn at random, whatever their score: the control of CLAT, tables 7 and 12."""

    def choose(self, ranking: tuple[int, ...], count: int, seed: Seed) -> tuple[int, ...]:
        order = torch.randperm(len(ranking), generator=seed.generator())[:count].tolist()
        layers = sorted(ranking)  # so that the draw does not depend on the scores
        return tuple(layers[i] for i in order)
