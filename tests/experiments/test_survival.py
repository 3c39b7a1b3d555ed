"""Runs that are stopped in every way a machine has: what is on disk stays whole, and they go on as if nothing
had been.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from semirobust.attacks.pgd import PGD
from semirobust.core.errors import InputError
from semirobust.core.files import write_atomically
from semirobust.core.tensor_files import read_tensors
from semirobust.experiments.run_lock import Busy, claimed, is_claimed
from semirobust.measures.criticality import Criticality
from semirobust.measures.gradient_norm import GradientNorm
from tests.experiments.test_commands import FAST
from tests.kinds import attempt
from tests.programs import LAST_RESORT, finish, started, wait_until

_TRAIN = ["train", "--data", "digits", "--attack", "pgd-2", *FAST, "--out", "runs/a"]
_ENDLESS = ["--epochs", "1000000"]  # no machine is done before the test interferes


@attempt(
    "a signal (Ctrl-C, or SIGTERM of a scheduler) in the middle of a run",
    "one sentence, exit code 130 or 143, and a whole state from which it goes on",
    promise="lost",
)
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_cleanly_and_leaves_a_whole_state(run, tmp_path, sign, code):
    with started(tmp_path, *_TRAIN, *_ENDLESS) as process:
        wait_until((tmp_path / "runs/a/state.safetensors").exists, process)
        process.send_signal(sign)
        _, errors = process.communicate(timeout=LAST_RESORT)
    assert process.returncode == code and "Traceback" not in errors and "goes on when started again" in errors
    assert not list((tmp_path / "runs/a").rglob("*.semirobust-part"))
    before = len(read_tensors(tmp_path / "runs/a/state.safetensors"))
    assert before and not is_claimed(tmp_path / "runs/a")


def test_the_loss_of_another_process_is_said(tmp_path):
    two = ["--devices", "2", "--device", "cpu", "--threads", "1"]
    with started(tmp_path, *_TRAIN, *_ENDLESS, *two) as process:
        wait_until((tmp_path / "runs/a/state.safetensors").exists, process)
        (other,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(other), signal.SIGKILL)
        _, errors = process.communicate(timeout=LAST_RESORT)
    assert process.returncode == 1 and "Traceback" not in errors and "another one of this run ended" in errors


@attempt(
    "a second run in the folder of one that is under way",
    "refused; the system lets go of the folder when the first one ends, however it ends",
    promise="together",
)
def test_two_runs_in_one_folder_are_one_too_many(run, tmp_path):
    with started(tmp_path, *_TRAIN, *_ENDLESS) as process:
        wait_until((tmp_path / "runs/a/state.safetensors").exists, process)
        assert "another run is writing to" in run(*_TRAIN, *_ENDLESS, code=2)[1]
        assert is_claimed(tmp_path / "runs/a")
        process.kill()
    assert not is_claimed(tmp_path / "runs/a")  # a killed run holds nothing


def test_a_process_may_claim_again_and_by_another_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with claimed(tmp_path / "runs"), claimed(Path("runs")):
        other = "from pathlib import Path; from semirobust.experiments.run_lock import claimed\nwith claimed(Path('runs')): pass"
        found = subprocess.run([sys.executable, "-c", other], check=False, capture_output=True, text=True)
        assert "Busy" in found.stderr
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "1")  # another process of the same run
        with claimed(Path("runs")):
            pass
    assert issubclass(Busy, InputError)


def test_a_profile_goes_on_with_the_measures_that_are_not_done(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("train", "--data", "digits", "--attack", "pgd-1", *FAST, "--epochs", "1", "--out", "base")
    profile = ["profile", "base", "--measures", "criticality,gradient-norm", "--examples", "200", "--json"]
    whole = json.loads(run(*profile, "--out", "whole")[0])

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GradientNorm, "scores", stop)
        run(*profile, "--out", "stopped", code=130)
    assert {file.name.split(".")[1] for file in (tmp_path / "stopped").glob("profile-*")} == {
        "images",
        "criticality",
    }
    with monkeypatch.context() as patch:
        patch.setattr(Criticality, "scores", stop)
        patch.setattr(PGD, "in_batches", stop)
        resumed = json.loads(run(*profile, "--out", "stopped")[0])
    assert {**whole, "out": ""} == {**resumed, "out": ""} and not list(
        (tmp_path / "stopped").glob("profile-*")
    )


@attempt(
    "a disk that is full",
    "one sentence and exit code 2; what was there stays",
    promise="lost",
)
def test_a_full_disk_costs_nothing_that_was_there(run, tmp_path):
    """Files may not grow beyond a size, as where the disk is full."""
    small = ["train", "--data", "digits", "--attack", "pgd-1", *FAST, "--epochs", "1", "--out", "runs/a"]
    code, _, errors = finish(
        tmp_path, *small, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    )
    assert code == 2 and "Traceback" not in errors, errors
    assert errors.splitlines()[-1] == "error: file: File too large"  # after what runs, and its epoch
    assert (
        not list((tmp_path / "runs/a").rglob("*.semirobust-part"))
        and not (tmp_path / "runs/a/state.safetensors").exists()
    )
    assert len(json.loads(run(*small, "--json")[0])["epochs"]) == 1


@attempt(
    "writing that fails half-way",
    "what was there before stays as it was",
    promise="lost",
)
def test_what_was_there_stays_where_writing_fails(tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    write_atomically(file, b"one")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, b"two")
    assert file.read_bytes() == b"one" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_place_that_cannot_be_written_to_is_said(run, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot" in run(*_TRAIN[:-1], "file/a", "--epochs", "1", code=2)[1]
