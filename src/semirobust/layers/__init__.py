"""The layers of any module: numbering, features, freezing, cutting and copying them.

The public names are in ``__init__.pyi``; each is imported when it is first used.
"""

from semirobust.core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
