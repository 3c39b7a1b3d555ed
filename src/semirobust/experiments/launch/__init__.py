"""Where many runs are carried out: on this machine, by SLURM, or on a Ray cluster."""

from semirobust.core.registry import Registry
from semirobust.experiments.launch.base.launcher import AbstractLauncher, Work

__all__ = ["LAUNCHERS", "AbstractLauncher", "Work"]

LAUNCHERS: Registry[AbstractLauncher] = Registry(
    "launcher", "semirobust.experiments.launch", group="launchers"
)
