"""Numbers about a trained model, which they leave as it was."""

from semirobust.measures.base import AbstractLayerMeasure
from semirobust.registry import Registry

__all__ = ["MEASURES", "AbstractLayerMeasure"]

MEASURES: Registry[AbstractLayerMeasure] = Registry("measure", "semirobust.measures")
