"""Random changes to a whole batch of training images at once, on its device."""

from semirobust.augment.base.augmentation import AbstractAugmentation
from semirobust.core.errors import InputError
from semirobust.core.nearest import meant
from semirobust.core.registry import Registry

__all__ = ["AUGMENTATIONS", "AbstractAugmentation", "augmentation"]

AUGMENTATIONS: Registry[AbstractAugmentation] = Registry(
    "augmentation", "semirobust.augment", group="augmentations"
)


def augmentation(name: str) -> AbstractAugmentation | None:
    """The augmentation called ``name``, or several with + between their names; None for ``none``, which
    leaves the images as they are.

    Raises:
        InputError: no augmentation has this name.
    """
    if name == "none":
        return None
    if name not in AUGMENTATIONS.names() and "+" not in name:
        raise InputError(
            f"augment: expected one of none, {', '.join(AUGMENTATIONS.names())}; got {name!r}"
            f"{meant(name, AUGMENTATIONS.names())}"
        )
    return AUGMENTATIONS.make(name)
