"""Measures of a trained model by layer; none of them changes the model."""

from semirobust.core.registry import Registry
from semirobust.measures.base.measure import AbstractLayerMeasure, MeasureContext

__all__ = ["MEASURES", "AbstractLayerMeasure", "MeasureContext"]

MEASURES: Registry[AbstractLayerMeasure] = Registry("measure", "semirobust.measures", AbstractLayerMeasure)
