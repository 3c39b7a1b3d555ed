"""The form of every augmentation."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from semirobust.core.seed import Seed

__all__ = ["AbstractAugmentation"]


class AbstractAugmentation(ABC):
    """Changes each image of a batch on its own.

    Attributes:
        moves_only: it takes each pixel of its result from one pixel of the image, or fills in zero, so that
            what is added to an image can be moved along.
    """

    moves_only: ClassVar[bool] = True

    @property
    def only_moves(self) -> bool:
        """``moves_only``, of all its parts where it has some."""
        return self.moves_only

    @abstractmethod
    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        """Images (N, K, H, W) in [0, 1] to such images; equal seeds draw equally."""
