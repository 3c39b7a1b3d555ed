"""Saliencies: how important each weight is; the least important are pruned first."""

from semirobust.core.registry import Registry
from semirobust.pruning.saliencies.base.saliency import AbstractSaliency

__all__ = ["SALIENCIES", "AbstractSaliency"]

SALIENCIES: Registry[AbstractSaliency] = Registry(
    "saliency", "semirobust.pruning.saliencies", AbstractSaliency, group="saliencies"
)
