"""How strongly two representations depend on each other, with what independent data would read."""

from semirobust.dependence.base import AbstractDependence
from semirobust.registry import Registry

__all__ = ["DEPENDENCES", "AbstractDependence"]

DEPENDENCES: Registry[AbstractDependence] = Registry("dependence measure", "semirobust.dependence")
