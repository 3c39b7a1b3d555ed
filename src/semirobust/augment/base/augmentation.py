"""The interface of every augmentation."""

from abc import ABC, abstractmethod

from torch import Tensor

from semirobust.core.seed import Seed
from semirobust.core.typed import Typed

__all__ = ["AbstractAugmentation"]


class AbstractAugmentation(Typed, ABC):
    """A random change of each image of a batch, independent of the other images unless it mixes them."""

    @property
    def only_moves(self) -> bool:
        """Whether each pixel of the result is one pixel of the image, or zero.

        Then a perturbation that was added to the image can be moved along with it (ATTA).
        """
        return True

    @property
    def mixes(self) -> bool:
        """Whether an image of the result is made of several, so that it has a share of each one's label."""
        return False

    @property
    def takes_whole(self) -> bool:
        """Whether it takes pictures with what was kept around the image, and crops them itself."""
        return False

    def sized(self, side: int) -> "AbstractAugmentation":
        """The same, giving images of this side whatever the side of those it gets."""
        return self

    @abstractmethod
    def __call__(self, x_NKHW: Tensor, seed: Seed) -> Tensor:
        """Images (N, K, H, W) in [0, 1] to images of the same shape and range; equal seeds draw equally."""

    def mixed(self, x_NKHW: Tensor, shares_NC: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        """The same images as a call gives with this seed, and their labels.

        Args:
            x_NKHW: the images.
            shares_NC: how much of each is of each class: of an image with one label a 1 and zeros.
            seed: of what is drawn.

        Returns:
            the images, and the shares (N, C), whose rows add up to 1 as before.
        """
        return self(x_NKHW, seed), shares_NC
