"""The choice of layers from a score of each."""

from semirobust.core.registry import Registry
from semirobust.selection.base.selection import AbstractLayerSelection, AbstractSelection

__all__ = ["SELECTIONS", "AbstractLayerSelection", "AbstractSelection"]

SELECTIONS: Registry[AbstractLayerSelection] = Registry(
    "selection", "semirobust.selection", AbstractLayerSelection, group="selections"
)
