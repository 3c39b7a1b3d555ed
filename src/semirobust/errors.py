"""What this library raises: ``from semirobust.errors import InputError``."""

from semirobust.core.errors import InputError

__all__ = ["InputError"]
