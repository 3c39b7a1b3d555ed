"""Inputs that a threat model allows and at which a loss is high."""

from semirobust.attacks.base.attack import AbstractAttack
from semirobust.core.foreign_calls import shows_attack
from semirobust.core.registry import Registry

__all__ = ["ATTACKS", "AbstractAttack"]

ATTACKS: Registry[AbstractAttack] = Registry(
    "attack", "semirobust.attacks", AbstractAttack, on_add=shows_attack
)
