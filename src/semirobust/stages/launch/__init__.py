"""Where many runs are carried out: on this machine, by SLURM, or on a Ray cluster."""

from semirobust.registry import Registry
from semirobust.stages.launch.base import AbstractLauncher, Work

__all__ = ["LAUNCHERS", "AbstractLauncher", "Work"]

LAUNCHERS: Registry[AbstractLauncher] = Registry("launcher", "semirobust.stages.launch")
