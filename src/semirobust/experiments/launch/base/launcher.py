"""The form of every launcher."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from semirobust.core.progress import Progress

__all__ = ["AbstractLauncher", "Work"]

Work = Callable[[int, Progress], list[str]]
"""What one worker does, given its number: takes up runs until none is left, and gives a sentence for each
that failed.
"""


@dataclass(frozen=True)
class AbstractLauncher(ABC):
    """Starts equal workers, which share what is to be done through locks in the folder of runs, and waits for
    them.
    """

    @abstractmethod
    def __call__(self, work: Work, workers: int, progress: Progress) -> list[str]:
        """Run ``work`` by so many workers; the sentences of all of them, each once."""
