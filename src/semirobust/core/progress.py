"""How long-running code reports its progress."""

from collections.abc import Callable

__all__ = ["Progress", "silent"]

Progress = Callable[[str, int, int], None]
"""``progress(task, done, total)``: is called often, so it must be cheap."""


def silent(task: str, done: int, total: int) -> None:
    """A progress callback that does nothing."""
