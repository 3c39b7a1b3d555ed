"""Processes on this machine."""

from dataclasses import dataclass

from semirobust.progress import Progress
from semirobust.stages.launch import LAUNCHERS
from semirobust.stages.launch.base import AbstractLauncher, Work
from semirobust.stages.parallel import for_each_seed

__all__ = ["Local"]


@LAUNCHERS.register("local")
@dataclass(frozen=True)
class Local(AbstractLauncher):
    """One process of one thread for each worker; a single worker is this process. Source: ours."""

    def __call__(self, work: Work, workers: int, progress: Progress) -> list[str]:
        found = for_each_seed(work, workers, progress, workers)
        return list(dict.fromkeys(sentence for sentences in found for sentence in sentences))
