"""Several augmentations in a row."""

from dataclasses import dataclass

from torch import Tensor

from semirobust.augment.base.augmentation import AbstractAugmentation
from semirobust.core.seed import Seed

__all__ = ["Chain"]


@dataclass(frozen=True)
class Chain(AbstractAugmentation):
    """Applies ``parts`` in order; each draws from a seed of its own.

    Args:
        parts: the augmentations.
    """

    parts: tuple[AbstractAugmentation, ...]

    @property
    def only_moves(self) -> bool:
        return all(part.only_moves for part in self.parts)

    @property
    def mixes(self) -> bool:
        return any(part.mixes for part in self.parts)

    @property
    def takes_whole(self) -> bool:
        return any(part.takes_whole for part in self.parts)

    def sized(self, side: int) -> "Chain":
        return Chain(tuple(part.sized(side) for part in self.parts))

    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        for number, part in enumerate(self.parts):
            x_NKHW = part(x_NKHW, seed / number)
        return x_NKHW

    def mixed(self, x_NKHW: Tensor, shares_NC: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        for number, part in enumerate(self.parts):
            x_NKHW, shares_NC = part.mixed(x_NKHW, shares_NC, seed / number)
        return x_NKHW, shares_NC
