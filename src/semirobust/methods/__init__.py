"""Ways to harden a trained model: each composes an objective with a choice of what trains."""

from semirobust.core.registry import Registry
from semirobust.methods.base.method import AbstractMethod, Context, Plan

__all__ = ["METHODS", "AbstractMethod", "Context", "Plan"]

METHODS: Registry[AbstractMethod] = Registry("method", "semirobust.methods", AbstractMethod)
