"""The public names of this room; ``__init__.py`` imports each from here when it is first used."""

from .bars import layer_bars as layer_bars
from .counts import Panel as Panel
from .counts import histograms as histograms
from .curves import Curve as Curve
from .curves import lines as lines
from .epochs import EpochPanel as EpochPanel
from .epochs import layers_by_epoch as layers_by_epoch
from .grids import Verdict as Verdict
from .grids import matrix as matrix
from .grids import verdict_matrix as verdict_matrix
from .security import security_curve as security_curve
from .style import NARROW as NARROW
from .style import WIDE as WIDE
from .style import WIDTH as WIDTH
from .whiskers import Points as Points
from .whiskers import points as points

__all__ = [
    "NARROW",
    "WIDE",
    "WIDTH",
    "Curve",
    "EpochPanel",
    "Panel",
    "Points",
    "Verdict",
    "histograms",
    "layer_bars",
    "layers_by_epoch",
    "lines",
    "matrix",
    "points",
    "security_curve",
    "verdict_matrix",
]
