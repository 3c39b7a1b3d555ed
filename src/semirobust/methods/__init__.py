"""Methods that harden a trained model: each composes an objective with a choice of the layers that train."""

from semirobust.core.registry import Registry
from semirobust.methods.base.layer_choice import LayerChoice
from semirobust.methods.base.method import AbstractMethod, Context, Plan

__all__ = ["METHODS", "AbstractMethod", "Context", "LayerChoice", "Plan"]

METHODS: Registry[AbstractMethod] = Registry("method", "semirobust.methods", AbstractMethod)
