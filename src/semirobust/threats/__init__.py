"""Which perturbations an adversary may use: one norm ball per file."""

from semirobust.registry import Registry
from semirobust.threats.base import AbstractThreat

__all__ = ["THREATS", "AbstractThreat"]

THREATS: Registry[AbstractThreat] = Registry("norm", "semirobust.threats")
