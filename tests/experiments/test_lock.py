"""One run in one folder: whatever ranks the environment names, and however the folder is reached."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from semirobust.core.errors import InputError
from semirobust.core.links import given_folder
from semirobust.core.rank import is_member
from semirobust.experiments import run_lock
from semirobust.experiments.build import Devices
from semirobust.experiments.run_lock import Busy, claimed, claims_out, is_claimed
from tests.kinds import attempt

_MEETING = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
# Environments of a process that runs alone.
ALONE = [
    {"RANK": "1", "WORLD_SIZE": "2"},
    {"RANK": "1", "WORLD_SIZE": "2", **_MEETING},
    {"LOCAL_RANK": "3", "WORLD_SIZE": "4", **_MEETING},
    {"RANK": "-1", "WORLD_SIZE": "2"},
    {"RANK": "one", "WORLD_SIZE": "two"},
    {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"},
    {"SLURM_PROCID": "7", "SLURM_STEP_NUM_TASKS": "8", "SLURM_JOB_ID": "1"},
    {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"},
    {"PMI_RANK": "1", "PMI_SIZE": "2"},
    {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "RANK": "2", "WORLD_SIZE": "3"},
    {"JOB_COMPLETION_INDEX": "1", "RANK": "1", "WORLD_SIZE": ""},
    {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"},
]


@claims_out
def _stage(out, *, devices=Devices(), progress=lambda *_: None):
    progress("work", 1, 2)
    return out is not None and is_held(out)


def is_held(folder):
    """Whether another process would be refused."""
    code = (
        "import sys; from pathlib import Path; from semirobust.experiments.run_lock import is_claimed\n"
        "sys.exit(is_claimed(Path(sys.argv[1])))"
    )
    return subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode == 1


def refused_in_a_fork(folder):
    """Whether a process that is forked off now may not claim the folder; it ends whatever happens in it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with claimed(folder):
                code = 2
        except Busy:
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@attempt(
    "RANK, LOCAL_RANK, WORLD_SIZE, SLURM_PROCID, OMPI_COMM_WORLD_RANK, PMI_RANK or those of Kubernetes in the"
    " environment of a process that runs alone",
    "its folder is locked as any other",
    promise="together",
)
@pytest.mark.parametrize("variables", ALONE[::4])
def test_a_process_alone_locks_whatever_its_environment_says(tmp_path, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert _stage(tmp_path / "a")


@pytest.mark.parametrize("variables", ALONE)
def test_only_members_of_a_group_share_a_folder(variables):
    assert not is_member(1, variables)
    assert is_member(2, {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", **_MEETING})
    assert is_member(2, {"LOCAL_RANK": "1", "WORLD_SIZE": "2", **_MEETING})
    assert is_member(8, {"SLURM_PROCID": "7", "SLURM_STEP_NUM_TASKS": "8"})
    assert not is_member(
        2, {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", **_MEETING}
    )  # it locks for all


@attempt(
    "a rank without a place where the processes meet, or of a group of another size, in a run of two processes",
    "it is no member of the run: it locks the folder itself, or is refused",
    promise="together",
)
@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": "1", "WORLD_SIZE": "2"},
        {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": ""},
        {"RANK": "1", "WORLD_SIZE": "4", **_MEETING},
        {"RANK": "2", "WORLD_SIZE": "2", **_MEETING},
        {"SLURM_PROCID": "1", "SLURM_NTASKS": "3"},
    ],
)
def test_a_rank_of_no_group_is_refused_where_the_folder_is_held(tmp_path, monkeypatch, variables):
    assert not is_member(2, variables)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    handle = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(Busy):
        _stage(tmp_path, devices=Devices("cpu", 2))
    os.close(handle)


@attempt(
    "a second thread of one process that runs in the same folder; a process that was forked off while the folder"
    " was held",
    "refused",
    promise="together",
)
def test_other_threads_and_forks_are_refused(tmp_path):
    found = []

    def try_it():
        try:
            with claimed(tmp_path):
                found.append("in")
        except Busy:
            found.append("busy")

    with claimed(tmp_path):
        with claimed(tmp_path):
            pass
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
        assert found == ["busy"]
        assert refused_in_a_fork(tmp_path)
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_a_child_that_lives_on_does_not_hold_the_folder(tmp_path):
    read, write = os.pipe()
    with claimed(tmp_path):
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
    assert not is_held(tmp_path)
    os.close(write)
    os.waitpid(child, 0)


@attempt(
    "`.lock` in the folder is a link, a hard link, a named pipe, a folder, or a file with something in it",
    "refused, and what it points to stays as it was",
    promise="outside",
)
@pytest.mark.parametrize("what", ["link", "dangling", "hard link", "pipe", "folder", "content"])
def test_a_lock_that_is_none_of_ours_is_refused(tmp_path, what):
    precious, lock = tmp_path / "precious", tmp_path / "run" / ".lock"
    precious.write_text("kept")
    lock.parent.mkdir()
    if what == "link":
        lock.symlink_to(precious)
    elif what == "dangling":
        lock.symlink_to(tmp_path / "none")
    elif what == "hard link":
        lock.hardlink_to(precious)
    elif what == "pipe":
        os.mkfifo(lock)
    elif what == "folder":
        lock.mkdir()
    else:
        lock.write_text("notes")
    with pytest.raises(InputError, match=r"\.lock"), claimed(lock.parent):
        pass
    assert precious.read_text() == "kept" and not (tmp_path / "none").exists()
    assert what != "content" or lock.read_text() == "notes"


@attempt(
    "a file system without locks (NFS without its lock service)",
    "a file stands in for the lock; that of a process that was killed on this machine is replaced, that of another"
    " machine is named to be deleted",
    promise="together",
)
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_a_file_stands_in(tmp_path, monkeypatch, code):
    def none(handle, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", none)
    held = tmp_path / ".lock.held"
    with claimed(tmp_path):
        assert held.read_text().split()[0] == str(os.getpid())
        with claimed(tmp_path):
            pass
        assert refused_in_a_fork(tmp_path)
    assert not held.exists()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = run_lock.socket.gethostname()
    held.write_text(f"{gone.pid}\n{host}\n")
    with claimed(tmp_path):
        pass
    held.write_text(f"{gone.pid}\nanother-machine\n")
    with pytest.raises(Busy, match=r"delete .*\.lock\.held"), claimed(tmp_path):
        pass


@attempt(
    "the folder of a run is moved, or its `.lock` deleted, while the run writes there",
    "the run ends in a sentence: another one could be in the folder of that name",
    promise="together",
)
@pytest.mark.parametrize("what", ["moved", "deleted"])
def test_a_folder_that_is_moved_ends_the_run(tmp_path, monkeypatch, what):
    monkeypatch.setattr(run_lock, "_LOOK", 0.0)

    @claims_out
    def stage(out, *, progress=lambda *_: None):
        progress("work", 1, 2)
        if what == "moved":
            Path(out).rename(tmp_path / "b")
        else:
            (Path(out) / ".lock").unlink()
        progress("work", 2, 2)

    with pytest.raises(InputError, match=r"was moved, or its \.lock deleted"):
        stage(tmp_path / "a")


def test_a_folder_is_the_same_by_every_path(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "other").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    with claimed(given_folder("other")), claimed(given_folder("real/../real")):
        assert is_held(tmp_path / "real") and is_held(tmp_path / "other")
        (tmp_path / "real").rename(tmp_path / "moved")
        assert is_held(tmp_path / "moved")
    assert not is_claimed(tmp_path / "moved")
