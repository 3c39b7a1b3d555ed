"""What takes part in a training run beside its objective and its attack, by name."""

from semirobust.core.registry import Registry
from semirobust.training.hooks.base.hook import AbstractHook

__all__ = ["HOOKS", "AbstractHook"]

HOOKS: Registry[AbstractHook] = Registry("hook", "semirobust.training.hooks", AbstractHook, group="hooks")
