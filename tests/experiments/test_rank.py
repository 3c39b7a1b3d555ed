"""Of several processes of one run, the first prints and locks the folder; a process alone is the first."""

import os
import subprocess
import sys

import pytest

from semirobust.core.rank import is_first_process


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}, True),  # torchrun
        ({"RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}, False),  # the first on a second machine
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, False),  # launched by Lightning
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, True),  # srun, or a batch script of two tasks
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, False),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, False),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"}, True),
        # A rank where nobody says that there are more processes is that of something else.
        ({"SLURM_PROCID": "1"}, True),
        ({"LOCAL_RANK": "1"}, True),
        ({"RANK": "1"}, True),
        ({"RANK": "1", "WORLD_SIZE": "1", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, False),
    ],
)
def test_a_rank_counts_where_there_are_several_processes(variables, first):
    assert is_first_process(variables) is first


@pytest.mark.parametrize(
    ("variables", "first"),
    [({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, False), ({"SLURM_PROCID": "1"}, True)],
)
def test_the_process_that_prints_is_the_one_that_locks(variables, first, tmp_path):
    script = """
import sys
from pathlib import Path
from semirobust.cli import console
from semirobust.experiments import run_lock
console.tell("told")
console.print_json({})
with run_lock.claimed(Path(sys.argv[1])):
    print("locked" if (Path(sys.argv[1]) / ".lock").is_file() else "free")
"""
    ranks = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS")
    environment = {name: value for name, value in os.environ.items() if name not in ranks}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
        env=environment | variables,
    )
    assert done.stdout.split() == (["told", "{}", "locked"] if first else ["free"])


def test_asking_for_the_rank_imports_no_torch():
    code = "import sys, semirobust.core.rank; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
