"""Which layers of an image classifier carry its adversarial robustness, and how little must be trained for
all of it.

The public names stand in ``__init__.pyi``. Each is imported when it is first used, so that importing the
package is instant."""

import logging

from semirobust.core.lazy import attach_stub

# An application decides whether and where the library's messages are shown.
logging.getLogger("semirobust").addHandler(logging.NullHandler())

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
