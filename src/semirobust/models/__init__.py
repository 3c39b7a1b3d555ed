"""Architectures in their small-image form; pixels come in [0, 1] and are normalised inside."""

from semirobust.core.registry import Registry
from semirobust.models.base.classifier import Classifier

__all__ = ["MODELS", "Classifier"]

MODELS: Registry[Classifier] = Registry("model", "semirobust.models")
