"""The public names of this room; ``__init__.py`` imports each from here when it is first used."""

from .arm import Arm as Arm
from .arm import AttackColumn as AttackColumn
from .claims import Claim as Claim
from .claims import Decided as Decided
from .claims import Side as Side
from .claims import claims_table as claims_table
from .claims import decide as decide
from .markdown import Seeds as Seeds
from .markdown import adjusted as adjusted
from .markdown import by_seed as by_seed
from .markdown import cells as cells
from .markdown import paired as paired
from .markdown import percent as percent
from .markdown import plain as plain
from .markdown import points as points
from .markdown import render as render
from .markdown import table as table
from .markdown import written_p as written_p
from .source import Cell as Cell
from .source import Source as Source
from .source import matches as matches
from .source import read_source as read_source
from .source import source_of as source_of

__all__ = [
    "Arm",
    "AttackColumn",
    "Cell",
    "Claim",
    "Decided",
    "Seeds",
    "Side",
    "Source",
    "adjusted",
    "by_seed",
    "cells",
    "claims_table",
    "decide",
    "matches",
    "paired",
    "percent",
    "plain",
    "points",
    "read_source",
    "render",
    "source_of",
    "table",
    "written_p",
]
