"""More adversarial training of everything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from semirobust.methods import METHODS
from semirobust.methods.base.method import AbstractMethod, Context, Plan
from semirobust.objectives import OBJECTIVES
from semirobust.training.trainable import All

__all__ = ["ContinuedAdversarial"]


@METHODS.register("adversarial")
@dataclass(frozen=True)
class ContinuedAdversarial(AbstractMethod):
    """PGD-AT of all layers goes on (Madry et al. 2018), or what the base was trained by: the control at equal
    budget.

    Args:
        objective: the two losses by name, such as ``trades``.
        objective_options: its own fields.
    """

    objective: str = "adversarial"
    objective_options: Mapping[str, Any] = field(default_factory=dict)

    def plan(self, context: Context) -> Plan:
        return Plan(OBJECTIVES.make(self.objective, self.objective_options), All())
