"""The public names of this room; ``__init__.py`` imports each from here when it is first used."""

from .trainable import AbstractTrainable as AbstractTrainable
from .training import Trained as Trained
from .training import Training as Training
from .training import Validate as Validate

__all__ = [
    "AbstractTrainable",
    "Trained",
    "Training",
    "Validate",
]
