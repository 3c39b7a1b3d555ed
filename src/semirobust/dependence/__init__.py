"""How strongly two representations depend on each other, with what independent data would read."""

from semirobust.core.registry import Registry
from semirobust.dependence.base.dependence import AbstractDependence

__all__ = ["DEPENDENCES", "AbstractDependence"]

DEPENDENCES: Registry[AbstractDependence] = Registry(
    "dependence measure", "semirobust.dependence", AbstractDependence
)
