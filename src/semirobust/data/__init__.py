"""Labelled images in [0, 1], from known data sets, archives and folders."""

from semirobust.core.registry import Registry
from semirobust.data.base.images import Images, Splits

__all__ = ["SOURCES", "Images", "Splits"]

SOURCES: Registry[Splits] = Registry("data", "semirobust.data")
