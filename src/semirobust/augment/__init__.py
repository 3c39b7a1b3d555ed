"""Random changes to a whole batch of training images at once, on its device."""

from semirobust.augment.base.augmentation import AbstractAugmentation
from semirobust.augment.chain import Chain
from semirobust.augment.colour import Colour
from semirobust.augment.crop_flip import CropFlip
from semirobust.augment.crop_shift import CropShift
from semirobust.augment.cutout import Cutout
from semirobust.augment.erase import Erase
from semirobust.core.errors import InputError

__all__ = ["AUGMENTATIONS", "AbstractAugmentation", "augmentation"]

AUGMENTATIONS: dict[str, AbstractAugmentation | None] = {
    "none": None,
    "crop": CropFlip(4, flip=False),
    "crop-small": CropFlip(1, flip=False),
    "crop-flip": CropFlip(4, flip=True),
    "cutout": Chain((CropFlip(4, flip=True), Cutout())),
    "idbh-weak": Chain((CropFlip(0, flip=True), CropShift(), Colour(), Erase(0.5))),
    "idbh-strong": Chain((CropFlip(0, flip=True), CropShift(), Colour(), Erase(1.0))),
}
"""By name. ``idbh-...`` follow Li & Spratling (2023), of whose colour operations they have four."""


def augmentation(name: str) -> AbstractAugmentation | None:
    """The augmentation called ``name``; None for ``none``."""
    if name not in AUGMENTATIONS:
        raise InputError(f"augment: expected one of {', '.join(AUGMENTATIONS)}; got {name!r}")
    return AUGMENTATIONS[name]
