"""Fewer weights: which go, what happens to those that stay, and how they are held at 0."""

from semirobust.pruning.base import AbstractSaliency
from semirobust.registry import Registry

__all__ = ["SALIENCIES", "AbstractSaliency"]

SALIENCIES: Registry[AbstractSaliency] = Registry("saliency", "semirobust.pruning")
