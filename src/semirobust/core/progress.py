"""How long-running code reports its progress."""

import logging
from collections.abc import Callable

__all__ = ["Progress", "begins", "silent"]

Progress = Callable[[str, int, int], None]
"""``progress(task, done, total)``: is called often, so it must be cheap."""


def silent(task: str, done: int, total: int) -> None:
    """A progress callback that does nothing."""


def begins(command: str) -> None:
    """Log that everything that was asked for is checked, and the work begins."""
    logging.getLogger("semirobust.experiments").info("%s begins", command, extra={"begins": True})
