"""What an adversary may do to an image: one threat model per file."""

from semirobust.core.foreign_calls import shows_ball
from semirobust.core.registry import Registry
from semirobust.threats.base.ball import AbstractBall
from semirobust.threats.base.threat import AbstractThreat

__all__ = ["NORMS", "THREATS", "AbstractBall", "AbstractThreat"]

NORMS: Registry[AbstractBall] = Registry(
    "norm", "semirobust.threats", AbstractBall, group="norms", on_add=shows_ball
)
"""Norm balls: what ``--norm`` names."""
THREATS: Registry[AbstractThreat] = Registry("threat model", "semirobust.threats", AbstractThreat)
"""All others; each belongs to one attack."""
