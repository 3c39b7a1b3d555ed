"""The public names of this room; ``__init__.py`` imports each from here when it is first used."""

from .channels import Channels as Channels
from .masks import Masks as Masks
from .masks import Scope as Scope

__all__ = [
    "Channels",
    "Masks",
    "Scope",
]
