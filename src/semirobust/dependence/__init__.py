"""How strongly two representations depend on each other, beside the value for independent data."""

from semirobust.core.registry import Registry
from semirobust.dependence.base.dependence import AbstractDependence

__all__ = ["DEPENDENCES", "AbstractDependence"]

DEPENDENCES: Registry[AbstractDependence] = Registry(
    "dependence measure", "semirobust.dependence", AbstractDependence, group="dependences"
)
