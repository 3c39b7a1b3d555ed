"""The public names of this room; ``__init__.py`` imports each from here when it is first used."""

from .lottery import Level as Level
from .lottery import Lottery as Lottery
from .lottery import read_level as read_level
from .recovery import Recovered as Recovered
from .recovery import Recovery as Recovery

__all__ = [
    "Level",
    "Lottery",
    "Recovered",
    "Recovery",
    "read_level",
]
