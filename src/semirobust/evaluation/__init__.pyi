"""The public names of this room; ``__init__.py`` imports each from here when it is first used."""

from .accuracy import Evaluation as Evaluation
from .accuracy import evaluate as evaluate
from .bounds import PerformanceBounds as PerformanceBounds
from .bounds import performance_bounds as performance_bounds
from .by_attack import ByAttack as ByAttack
from .check import Check as Check
from .proportion import Proportion as Proportion
from .sanity import sanity_checks as sanity_checks

__all__ = [
    "ByAttack",
    "Check",
    "Evaluation",
    "PerformanceBounds",
    "Proportion",
    "evaluate",
    "performance_bounds",
    "sanity_checks",
]
