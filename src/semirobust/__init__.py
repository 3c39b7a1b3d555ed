"""Which layers of an image classifier carry its adversarial robustness, and how little must be trained for
all of it.

The public names stand in ``__init__.pyi``. Each is imported when it is first used, so that importing the
package is instant."""

import logging

from semirobust.core.foreign_calls import FOREIGN_NAMES
from semirobust.core.lazy import attach_stub

# An application decides whether and where the library's messages are shown.
logging.getLogger("semirobust").addHandler(logging.NullHandler())


def _foreign(name: str) -> str:
    """What to say of a name that other libraries have."""
    if name not in FOREIGN_NAMES:
        return ""
    return f"semirobust has no {name}; the call here is {FOREIGN_NAMES[name]}"


__getattr__, __dir__, __all__ = attach_stub(__name__, __file__, _foreign)
