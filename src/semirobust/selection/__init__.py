"""The choice of layers from a score of each."""

from semirobust.core.registry import Registry
from semirobust.selection.base.selection import AbstractSelection

__all__ = ["SELECTIONS", "AbstractSelection"]

SELECTIONS: Registry[AbstractSelection] = Registry(
    "selection", "semirobust.selection", AbstractSelection, group="selections"
)
