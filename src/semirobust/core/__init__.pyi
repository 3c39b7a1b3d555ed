"""The public names of this room; ``__init__.py`` imports each from here when it is first used."""

from .errors import InputError as InputError
from .progress import Progress as Progress
from .progress import silent as silent
from .registry import Registry as Registry
from .seed import Seed as Seed
from .seed import as_seed as as_seed
from .text import slug as slug

__all__ = [
    "InputError",
    "Progress",
    "Registry",
    "Seed",
    "as_seed",
    "silent",
    "slug",
]
