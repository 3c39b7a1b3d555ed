"""Small networks and tools for tests, which the checks of the library have too."""

from semirobust.testing.base.network import SmallResidual, fingerprint, untouched

__all__ = ["SmallResidual", "fingerprint", "untouched"]
