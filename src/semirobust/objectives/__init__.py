"""Min-max training objectives: the loss that the attack maximises and the one that training minimises."""

from semirobust.core.foreign_calls import shows_objective
from semirobust.core.registry import Registry
from semirobust.objectives.base.objective import AbstractObjective, Step

__all__ = ["OBJECTIVES", "AbstractObjective", "Step"]

OBJECTIVES: Registry[AbstractObjective] = Registry(
    "objective", "semirobust.objectives", AbstractObjective, on_add=shows_objective
)
