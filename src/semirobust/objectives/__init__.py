"""Min-max training objectives: what the attack raises and what training lowers."""

from semirobust.core.registry import Registry
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["OBJECTIVES", "AbstractObjective", "Step"]

OBJECTIVES: Registry[AbstractObjective] = Registry("objective", "semirobust.objectives", AbstractObjective)
