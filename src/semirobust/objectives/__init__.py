"""Min-max training objectives: what the attack raises and what training lowers."""

from semirobust.objectives.base import AbstractObjective, Step
from semirobust.registry import Registry

__all__ = ["OBJECTIVES", "AbstractObjective", "Step"]

OBJECTIVES: Registry[AbstractObjective] = Registry("objective", "semirobust.objectives")
