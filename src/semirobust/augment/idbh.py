"""Augmentations that are diverse and well balanced in hardness (IDBH)."""

from semirobust.augment import AUGMENTATIONS
from semirobust.augment.base.chain import Chain
from semirobust.augment.colour_shape import ColourShape
from semirobust.augment.crop_flip import CropFlip
from semirobust.augment.crop_shift import CropShift
from semirobust.augment.erase import Erase

__all__ = ["idbh_strong", "idbh_svhn", "idbh_weak"]


@AUGMENTATIONS.register("idbh-weak")
def idbh_weak() -> Chain:
    """Mirror images, ``crop-shift``, ``colour-shape``, and ``erase`` of half of the images: the weak set for
    CIFAR-10 (Li & Spratling 2023).
    """
    return _idbh(Erase(0.5))


@AUGMENTATIONS.register("idbh-strong")
def idbh_strong() -> Chain:
    """As ``idbh-weak``, with ``erase`` of every image: the strong set for CIFAR-10 (Li & Spratling 2023)."""
    return _idbh(Erase(1.0))


@AUGMENTATIONS.register("idbh-svhn")
def idbh_svhn() -> Chain:
    """As ``idbh-strong``, with the bias ``shape``, up to 8 rows and columns cut, and up to half of each image
    erased: the set for SVHN (Li & Spratling 2023).
    """
    return _idbh(Erase(1.0, max_area=0.5), ColourShape("shape"), CropShift(8))


def _idbh(erase: Erase, change: ColourShape = ColourShape(), crop: CropShift = CropShift()) -> Chain:
    return Chain((CropFlip(0, flip=True), crop, change, erase))
