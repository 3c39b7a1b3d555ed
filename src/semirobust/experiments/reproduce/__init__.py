"""Tables and figures of papers, made again: at a small scale on two cores, at full scale on a GPU."""

from semirobust.core.registry import Registry
from semirobust.experiments.reproduce.base import AbstractReproduction, Unit

__all__ = ["REPRODUCTIONS", "AbstractReproduction", "Unit"]

REPRODUCTIONS: Registry[AbstractReproduction] = Registry("reproduction", "semirobust.experiments.reproduce")
