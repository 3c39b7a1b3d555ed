"""Tasks of a Ray cluster."""

from dataclasses import dataclass
from typing import Any

from semirobust.core.errors import InputError
from semirobust.core.progress import Progress, silent
from semirobust.core.text import first_line, last_line
from semirobust.experiments.launch import LAUNCHERS
from semirobust.experiments.launch.base.launcher import AbstractLauncher, Work

__all__ = ["Ray"]


@LAUNCHERS.register("ray")
@dataclass(frozen=True)
class Ray(AbstractLauncher):
    """One task for each worker; Ray starts a task again whose machine is lost. Source: ours.

    Args:
        address: of a cluster, or ``auto``; a cluster on this machine where empty. Its machines must see the
            folder of runs.
        cpus, gpus: what a worker takes.
        tries: how often a task whose machine is lost starts again.

    Raises:
        InputError: Ray is missing, or there is no cluster at the address.
    """

    address: str = ""
    cpus: float = 1.0
    gpus: float = 0.0
    tries: int = 3

    def __call__(self, work: Work, workers: int, progress: Progress) -> list[str]:
        try:
            import ray  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise InputError('launcher ray: needs ray: pip install "semirobust[launch]"') from None
        started = not ray.is_initialized()
        try:
            ray.init(
                address=self.address or None,
                ignore_reinit_error=True,
                log_to_driver=False,
                include_dashboard=False,
            )
        except (OSError, ValueError, RuntimeError) as error:  # no cluster there, or no ray on this machine
            raise InputError(f"launcher ray: {first_line(error)}") from None
        try:
            task: Any = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.tries)(_work)
            waiting = [task.remote(work, number) for number in range(workers)]
            found: list[str] = []
            while waiting:
                done, waiting = ray.wait(waiting, timeout=5.0)
                for one in done:
                    try:
                        found += ray.get(one)
                    except ray.exceptions.RayError as error:
                        found.append(f"a worker ended: {last_line(error)}")
                progress("workers", workers - len(waiting), workers)
        finally:
            if started:
                ray.shutdown()
        return list(dict.fromkeys(found))


def _work(work: Work, number: int) -> list[str]:
    return work(number, silent)
