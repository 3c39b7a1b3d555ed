"""How long-running code says how far it is."""

from collections.abc import Callable

__all__ = ["Progress", "silent"]

Progress = Callable[[str, int, int], None]
"""``progress(task, done, total)``: called often, cheap, and free to do nothing."""


def silent(task: str, done: int, total: int) -> None:
    """The progress that shows nothing."""
