"""Processes on this machine."""

from dataclasses import dataclass

from semirobust.core.errors import LostProcessError
from semirobust.core.progress import Progress
from semirobust.experiments.launch import LAUNCHERS
from semirobust.experiments.launch.base.launcher import AbstractLauncher, Work
from semirobust.experiments.parallel import for_each_seed

__all__ = ["Local"]


@LAUNCHERS.register("local")
@dataclass(frozen=True)
class Local(AbstractLauncher):
    """One process of one thread for each worker; a single worker is this process. Source: ours.

    Raises:
        LostProcessError: the system ended one of them.
    """

    def __call__(self, work: Work, workers: int, progress: Progress) -> list[str]:
        try:
            found = for_each_seed(work, workers, progress, workers)
        except LostProcessError as error:
            raise LostProcessError(f"{error}: what is done stays") from None
        return list(dict.fromkeys(sentence for sentences in found for sentence in sentences))
