"""Augmentations of diverse strength in the manner of IDBH."""

from semirobust.augment import AUGMENTATIONS
from semirobust.augment.base.chain import Chain
from semirobust.augment.colour import Colour
from semirobust.augment.crop_flip import CropFlip
from semirobust.augment.crop_shift import CropShift
from semirobust.augment.erase import Erase

__all__ = ["idbh_strong", "idbh_weak"]


@AUGMENTATIONS.register("idbh-weak")
def idbh_weak() -> Chain:
    """Mirror images, then ``crop-shift``, ``colour`` and, of half of the images, ``erase`` (Li & Spratling
    2023, of whose colour operations these are four).
    """
    return _idbh(0.5)


@AUGMENTATIONS.register("idbh-strong")
def idbh_strong() -> Chain:
    """As ``idbh-weak``, with ``erase`` of every image (Li & Spratling 2023)."""
    return _idbh(1.0)


def _idbh(erased: float) -> Chain:
    return Chain((CropFlip(0, flip=True), CropShift(), Colour(), Erase(erased)))
