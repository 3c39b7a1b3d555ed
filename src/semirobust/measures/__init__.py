"""Numbers about a trained model, which they leave as it was."""

from semirobust.core.registry import Registry
from semirobust.measures.base.measure import AbstractLayerMeasure, MeasureContext

__all__ = ["MEASURES", "AbstractLayerMeasure", "MeasureContext"]

MEASURES: Registry[AbstractLayerMeasure] = Registry("measure", "semirobust.measures", AbstractLayerMeasure)
