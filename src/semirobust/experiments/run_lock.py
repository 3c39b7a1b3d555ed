"""One run in one folder at a time."""

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from filelock import BaseFileLock, FileLock, Timeout

from semirobust.core.errors import InputError
from semirobust.core.files import check_place, delete, is_unfinished, make_folder
from semirobust.core.links import given_folder
from semirobust.core.rank import is_first_process

__all__ = ["Busy", "claimed", "claims_out", "is_claimed"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_LOCK, _LOCK_BYTES = ".lock", 512  # which is empty, or names a process
_LOCKS: dict[str, BaseFileLock] = {}  # one for each folder, so that this process may claim it again within


class Busy(InputError):
    """Another run is writing to the folder."""


@contextmanager
def claimed(folder: Path, *, alone: bool = False) -> Iterator[None]:
    """Hold ``folder``, which is made, for this process; the system lets go of it even where the process is
    killed.

    The same process may claim it again within. Of several processes of one run the first claims it for all,
    unless each is ``alone``. Where the file system has no locks, a file stands in for one, or nothing is
    held.

    Raises:
        Busy: another process holds it.
        InputError: the folder cannot be made or written to.
    """
    if not alone and not is_first_process():
        yield
        return
    try:
        make_folder(folder)
        _check_lock(folder / _LOCK)
        file = str(folder.resolve() / _LOCK)
        lock = _LOCKS.setdefault(file, FileLock(file, timeout=0, thread_local=False))
        lock.acquire()
    except Timeout:
        raise Busy(f"out: another run is writing to {folder}; let it end, or choose another folder") from None
    except (
        NotImplementedError
    ):  # a file system without locks, as versions of filelock say it that have no file in its place
        yield
        return
    except OSError as error:
        raise InputError(f"out: cannot make the folder {folder}, or write to it ({error.strerror})") from None
    try:
        yield
    finally:
        lock.release()


def claims_out(stage: Callable[_P, _R]) -> Callable[_P, _R]:
    """The stage, holding the folder that its argument ``out`` names; None holds nothing."""
    signature = inspect.signature(stage)

    @functools.wraps(stage)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        given = signature.bind(*args, **kwargs)
        if given.arguments.get("out") is None:
            return stage(*args, **kwargs)
        out = given.arguments["out"] = given_folder(given.arguments["out"])
        with claimed(out):
            if is_first_process():
                _sweep(out)
            return stage(*given.args, **given.kwargs)

    return run


def _check_lock(file: Path) -> None:
    """Refuse what is no lock of a run, since a lock is emptied when it is taken."""
    state = check_place(file)
    if state is not None and state.st_size > _LOCK_BYTES:
        raise InputError(f"out: {file} is no lock of a run; choose another folder, or take it away")


def is_claimed(folder: Path) -> bool:
    """Whether another process holds the folder."""
    if not (folder / _LOCK).is_file():
        return False
    try:
        with claimed(folder, alone=True):
            return False
    except Busy:
        return True
    except InputError:  # a folder of others
        return False


def _sweep(folder: Path) -> None:
    """Delete what a run that was killed while it wrote left here, but not below folders that are claimed for
    themselves.
    """
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not (Path(place) / name / _LOCK).exists()]
        for name in files:
            if is_unfinished(name):
                delete(Path(place) / name)
