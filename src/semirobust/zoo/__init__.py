"""Networks that others made, by name: ``SOURCE:NAME``, such as ``timm:convnext_atto``.

No package of another library is imported before one of its networks is asked for.
"""

from semirobust.core.registry import Registry
from semirobust.zoo.base.source import AbstractSource

__all__ = ["ZOO", "AbstractSource"]

ZOO: Registry[AbstractSource] = Registry("source of models", "semirobust.zoo", group="networks")
