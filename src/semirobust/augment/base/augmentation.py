"""The interface of every augmentation."""

from abc import ABC, abstractmethod

from torch import Tensor

from semirobust.core.seed import Seed

__all__ = ["AbstractAugmentation"]


class AbstractAugmentation(ABC):
    """A random change of each image of a batch, independent of the other images."""

    @property
    def only_moves(self) -> bool:
        """Whether each pixel of the result is one pixel of the image, or zero.

        Then a perturbation that was added to the image can be moved along with it (ATTA).
        """
        return True

    @abstractmethod
    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        """Images (N, K, H, W) in [0, 1] to images of the same shape and range; equal seeds draw equally."""
