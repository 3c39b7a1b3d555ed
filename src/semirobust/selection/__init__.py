"""Which layers, given a score of each."""

from semirobust.registry import Registry
from semirobust.selection.base import AbstractSelection

__all__ = ["SELECTIONS", "AbstractSelection"]

SELECTIONS: Registry[AbstractSelection] = Registry("selection", "semirobust.selection")
