"""Architectures for small images, which take pixels in [0, 1] and normalise them inside, and checkpoints."""

from semirobust.core.registry import Registry
from semirobust.models.base.classifier import Classifier

__all__ = ["MODELS", "Classifier"]

MODELS: Registry[Classifier] = Registry("model", "semirobust.models.architectures", group="models")
