"""The public names of this room; ``__init__.py`` imports each from here when it is first used."""

from .memory import footprint as footprint
from .memory import largest_batch as largest_batch
from .operations import Operations as Operations
from .time import Cost as Cost
from .time import costs as costs

__all__ = [
    "Cost",
    "Operations",
    "costs",
    "footprint",
    "largest_batch",
]
