"""Jobs of a SLURM cluster."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semirobust.core.errors import InputError
from semirobust.core.progress import Progress, silent
from semirobust.core.text import first_line, last_line
from semirobust.experiments.launch import LAUNCHERS
from semirobust.experiments.launch.base.launcher import AbstractLauncher, Work

__all__ = ["Slurm"]


@LAUNCHERS.register("slurm")
@dataclass(frozen=True)
class Slurm(AbstractLauncher):
    """One job for each worker, by submitit. A worker that is taken away leaves its run to the others, or to
    the next launch.
    Interrupting this process leaves the jobs to SLURM: end them by ``scancel``.

    Args:
        folder: where scripts and logs go; the cluster's machines must see it, and the folder of runs.
        cluster: ``slurm``; ``local`` runs the same as processes of this machine, to try it out.
        minutes: time limit of a job.
        options: other parameters of submitit, such as ``slurm_partition``, ``gpus_per_node``, ``mem_gb``.
        every: seconds between looks at the jobs.

    Raises:
        InputError: submitit is missing or refuses the parameters.
    """

    folder: str = "runs/jobs"
    cluster: str = "slurm"
    minutes: int = 240
    options: Mapping[str, Any] = field(default_factory=dict)
    every: float = 5.0

    def __call__(self, work: Work, workers: int, progress: Progress) -> list[str]:
        try:
            import submitit  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise InputError('launcher slurm: needs submitit: pip install "semirobust[launch]"') from None
        try:
            executor = submitit.AutoExecutor(folder=Path(self.folder), cluster=self.cluster)
            executor.update_parameters(timeout_min=self.minutes, name="semirobust", **self.options)
            jobs = [executor.submit(work, number, silent) for number in range(workers)]
        except Exception as error:  # whatever sbatch has against it
            raise InputError(f"launcher slurm: {first_line(error)}") from None
        while not all(job.done() for job in jobs):
            progress("jobs", sum(job.done() for job in jobs), len(jobs))
            time.sleep(self.every)
        progress("jobs", len(jobs), len(jobs))
        found: list[str] = []
        for job in jobs:
            lost = job.exception()
            found += job.result() if lost is None else [f"job {job.job_id} ended: {last_line(lost)}"]
        return list(dict.fromkeys(found))
