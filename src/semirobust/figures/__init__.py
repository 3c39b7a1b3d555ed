"""Charts: from plain numbers and names to a figure of Matplotlib, one file a kind of chart.

The public names stand in ``__init__.pyi``; each is imported when it is first used, and Matplotlib with it.
"""

from semirobust.core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
