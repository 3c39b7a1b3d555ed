"""Ways to harden a trained model: each composes an objective with a choice of what trains."""

from semirobust.methods.base import AbstractMethod, Context, Plan
from semirobust.registry import Registry

__all__ = ["METHODS", "AbstractMethod", "Context", "Plan"]

METHODS: Registry[AbstractMethod] = Registry("method", "semirobust.methods")
