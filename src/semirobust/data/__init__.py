"""Labelled images in [0, 1] from the places people keep them."""

from semirobust.data.images import Images, Splits
from semirobust.registry import Registry

__all__ = ["SOURCES", "Images", "Splits"]

SOURCES: Registry[Splits] = Registry("data", "semirobust.data")
