"""Removing weights: masks that hold them at 0, saliencies that choose them, and whole channels.

The public names are in ``__init__.pyi``; each is imported when it is first used.
"""

from semirobust.core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
