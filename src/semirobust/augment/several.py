"""Several augmentations by their names."""

from semirobust.augment import AUGMENTATIONS, augmentation
from semirobust.augment.base.chain import Chain

__all__ = ["several"]


@AUGMENTATIONS.register("crop-flip+erase", pattern=r"(?P<names>[\w.:-]+(?:\+[\w.:-]+)+)")
def several(names: str) -> Chain:
    """Any of the others in this order, with + between their names, such as ``crop-flip+erase`` (ours)."""
    parts = (augmentation(name) for name in names.split("+"))
    return Chain(tuple(part for part in parts if part is not None))
