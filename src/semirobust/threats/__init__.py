"""What an adversary may do to an image: one threat model per file."""

from semirobust.registry import Registry
from semirobust.threats.ball import AbstractBall
from semirobust.threats.base import AbstractThreat

__all__ = ["THREATS", "AbstractBall", "AbstractThreat"]

THREATS: Registry[AbstractBall] = Registry("norm", "semirobust.threats")
