"""Which of several processes of one run this one is, by its environment alone.

The command line asks this before it imports PyTorch, so this file imports nothing heavy.
"""

import os
from collections.abc import Mapping

__all__ = ["is_first_process", "is_member"]

# Who numbers the processes, and where the same launcher says how many there are.
# The order is that of Lightning: torchrun, Lightning's own launcher, srun.
_NUMBERED_BY = (
    ("RANK", ("WORLD_SIZE",)),
    ("LOCAL_RANK", ("WORLD_SIZE",)),
    ("SLURM_PROCID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")),
)

_MEETING = ("MASTER_ADDR", "MASTER_PORT")  # where processes of torchrun and of Lightning meet


def is_member(count: int, environment: Mapping[str, str] | None = None) -> bool:
    """Whether this is one of the ``count`` processes of a run that another one of them began, and that it can
    reach: then that one locks the folder for both.

    The launcher must number the processes, say as many as the run has, and say where they meet. A process
    that its environment only gives a rank runs alone, whatever it says.

    Args:
        count: of the processes that the run was asked to have.
        environment: the variables to look at; those of this process where None.
    """
    variables = os.environ if environment is None else environment
    found = _numbering(variables)
    if count < 2 or found is None or is_first_process(variables):
        return False
    rank, said = found
    number = variables[rank]
    numbered = said == str(count) and number.isdecimal() and int(number) < count
    return numbered and ("SLURM" in rank or all(variables.get(name) for name in _MEETING))


def is_first_process(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this is process 0 of its run: the one that prints, and that locks the folder for all.

    A rank counts only where the same launcher says that there are several processes. Containers, and the
    shell or batch script of a SLURM allocation, may set a rank for a process that runs alone.

    Args:
        environment: the variables to look at; those of this process where None.
    """
    variables = os.environ if environment is None else environment
    found = _numbering(variables)
    return found is None or variables[found[0]] == "0"


def _numbering(variables: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable that numbers the processes, and how many the same launcher says there are; None where
    nothing says that there are several.
    """
    for rank, counts in _NUMBERED_BY:
        count = next((variables[name] for name in counts if name in variables), "1")
        if rank in variables and count != "1":
            return rank, count
    return None
