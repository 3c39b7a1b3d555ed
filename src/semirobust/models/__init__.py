"""Architectures in their small-image form; pixels come in [0, 1] and are normalised inside."""

from semirobust.models.base import Classifier
from semirobust.registry import Registry

__all__ = ["MODELS", "Classifier"]

MODELS: Registry[Classifier] = Registry("model", "semirobust.models")
