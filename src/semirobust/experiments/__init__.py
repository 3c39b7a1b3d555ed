"""One file for each command, and studies of many runs: read files, call the library, write records.

The public names stand in ``__init__.pyi``; each is imported when it is first used.
"""

from semirobust.core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
