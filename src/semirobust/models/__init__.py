"""Architectures for small images; they take pixels in [0, 1] and normalise them inside."""

from semirobust.core.registry import Registry
from semirobust.models.base.classifier import Classifier

__all__ = ["MODELS", "Classifier"]

MODELS: Registry[Classifier] = Registry("model", "semirobust.models")
