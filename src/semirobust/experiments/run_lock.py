"""One run in one folder at a time."""

import errno
import fcntl
import functools
import inspect
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from semirobust.core.errors import InputError
from semirobust.core.files import check_place, delete, is_unfinished, make_folder, read_text
from semirobust.core.links import given_folder
from semirobust.core.progress import Progress, silent
from semirobust.core.rank import is_first_process, is_member
from semirobust.data.base.tree import splits_of
from semirobust.experiments.run_files import SETTINGS_FILE, STARTED_FILE

__all__ = ["Busy", "claimed", "claims_out", "is_claimed"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_LOCK, _STAND_IN = ".lock", ".lock.held"
_PATIENCE = 0.3  # seconds: whoever only asks whether a folder is claimed holds it for a moment
_LONGEST = 512  # bytes of a file that stands in for a lock
_WRITTEN, _LEVELS = (STARTED_FILE, SETTINGS_FILE, "records"), 3  # what a run leaves, and how deep
_LOOK = 1.0  # seconds between two looks at whether the folder is still the one that is held
# What systems say that have no locks for a file: NFS without its lock service, FUSE, old kernels.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


class Busy(InputError):
    """Another run is writing to the folder."""


@dataclass
class _Held:
    """A folder that this process holds: by which thread, and how often it was claimed within.

    Attributes:
        handle: of the file that is locked; None where a file stands in for the lock.
    """

    file: Path
    handle: int | None
    process: int
    thread: int
    times: int = 1


_HELD: dict[str, _Held] = {}
_GUARD = threading.Lock()


@contextmanager
def claimed(folder: Path, *, alone: bool = False) -> Iterator[None]:
    """Hold ``folder``, which is made, for this thread of this process; the system lets go of it even where
    the process is killed.

    The same thread may claim it again within; another thread, and a process that was forked off, may not. Of
    several processes of one run the first claims it for all, unless each is ``alone``. Where the file system
    has no locks, a file stands in for one that says which process of which machine made it.

    Raises:
        Busy: another process or thread holds it.
        InputError: the folder cannot be made or written to, or ``.lock`` in it is none of ours.
    """
    if not alone and not is_first_process():
        yield
        return
    try:
        make_folder(folder)
        file = folder.resolve() / _LOCK
        check_place(file)
        _acquire(folder, file)
    except OSError as error:
        raise InputError(f"out: cannot make the folder {folder}, or write to it ({error.strerror})") from None
    try:
        yield
    finally:
        _release(file)


def _acquire(folder: Path, file: Path) -> None:
    with _GUARD:
        held = _HELD.get(str(file))
        if held is not None and held.process == os.getpid():
            if held.thread != threading.get_ident():
                raise _busy(folder)
            held.times += 1
            return
        # In a child that was forked off, what its parent holds stays the parent's.
        handle = _lock(folder, file)
        _HELD[str(file)] = _Held(file, handle, os.getpid(), threading.get_ident())


def _release(file: Path) -> None:
    with _GUARD:
        held = _HELD.get(str(file))
        if held is None or held.process != os.getpid():
            return
        held.times -= 1
        if held.times:
            return
        del _HELD[str(file)]
        if held.handle is None:
            delete(file.with_name(_STAND_IN))
        else:
            fcntl.flock(held.handle, fcntl.LOCK_UN)  # for children that have the handle too
            os.close(held.handle)


def _lock(folder: Path, file: Path) -> int | None:
    """The handle of the file, locked; None where a file stands in for it."""
    end = time.monotonic() + _PATIENCE
    while True:
        handle = _opened(file)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _identity(file) == _identity(handle):  # not deleted in between
                return handle
            os.close(handle)
        except OSError as error:
            os.close(handle)
            if error.errno in _NO_LOCKS:
                _stand_in(folder, file.with_name(_STAND_IN))
                return None
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        if time.monotonic() > end:
            raise _busy(folder)
        time.sleep(_PATIENCE / 10)


def _opened(file: Path) -> int:
    """The file, made where it is not there; never a link, a named pipe, or what another program wrote."""
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _foreign(file) from None
        raise
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_size > 0:
        os.close(handle)
        raise _foreign(file)
    return handle


def _foreign(file: Path) -> InputError:
    return InputError(
        f"out: expected {file} to be the empty file that a run holds, got something else; delete it, or"
        " choose another folder"
    )


def _stand_in(folder: Path, file: Path) -> None:
    """Make the file that stands in for a lock; that of a process of this machine that is no more is
    replaced.
    """
    for _ in range(2):
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        except FileExistsError:
            _clear_stale(file)
            continue
        with os.fdopen(handle, "w", encoding="utf-8") as made:
            made.write(f"{os.getpid()}\n{socket.gethostname()}\n")
        return
    raise Busy(f"{_busy(folder)}; if that one was killed on another machine, delete {file}")


def _clear_stale(file: Path) -> None:
    """Delete the file of a process of this machine that is no more."""
    try:
        pid, host = read_text(file, most=_LONGEST).split("\n")[:2]
        if host == socket.gethostname() and not _runs(int(pid)):
            delete(file)
    except (OSError, ValueError, InputError):
        return


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def _busy(folder: Path) -> Busy:
    return Busy(f"out: another run is writing to {folder}; let it end, or choose another folder")


def claims_out(stage: Callable[_P, _R]) -> Callable[_P, _R]:
    """The stage, holding the folder that its argument ``out`` names; None holds nothing.

    A process that runs alone, by its argument ``devices``, holds it whatever rank its environment gives it.
    Where the folder is moved or its lock deleted meanwhile, the stage ends: another run could be there.
    """
    signature = inspect.signature(stage)

    @functools.wraps(stage)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        bound = signature.bind(*args, **kwargs)
        if bound.arguments.get("out") is None:
            return stage(*args, **kwargs)
        out = bound.arguments["out"] = given_folder(bound.arguments["out"])
        if _is_member(bound.arguments.get("devices")):
            return stage(*bound.args, **bound.kwargs)
        _check_apart(out, bound.arguments)
        with claimed(out, alone=True):
            _sweep(out)
            if "progress" in signature.parameters:
                bound.arguments["progress"] = _Watching(out, bound.arguments.get("progress", silent))
            return stage(*bound.args, **bound.kwargs)

    return run


def _check_apart(out: Path, arguments: Mapping[str, Any]) -> None:
    """The folder does not lie among the classes of the images, where it would become one of them."""
    asked = (arguments.get(name) for name in ("recipe", "subject", "robust"))
    for recipe in (getattr(value, "recipe", value) for value in asked if value is not None):
        source = Path(recipe.data.source)
        images = given_folder(source) if source.is_dir() else None
        if images is not None and (out == images or images in out.parents) and splits_of(images) is None:
            raise InputError(
                f"out: expected a folder beside the images, got {out} in {images}, where it would be read as"
                " a class of pictures; choose another folder"
            )


def _is_member(devices: Any) -> bool:
    count = 1 if devices is None else devices.devices * devices.nodes
    return is_member(count)


class _Watching:
    """Progress that also looks, now and then, whether the folder is still the one that is held."""

    def __init__(self, folder: Path, told: Progress) -> None:
        self.folder, self.told, self.file = folder, told, folder.resolve() / _LOCK
        self.looked, self.known = time.monotonic(), _identity(self.file)

    def __call__(self, task: str, done: int, total: int) -> None:
        self.told(task, done, total)
        if time.monotonic() - self.looked < _LOOK:
            return
        self.looked = time.monotonic()
        if self.known is not None and _identity(self.file) != self.known:
            raise InputError(
                f"out: {self.folder} was moved, or its {_LOCK} deleted, while a run wrote there; start it"
                " again with the folder's new name: what is done stays"
            )


def _identity(file: Path | int) -> tuple[int, int] | None:
    try:
        found = os.fstat(file) if isinstance(file, int) else file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_claimed(folder: Path) -> bool:
    """Whether another process holds the folder."""
    folder = given_folder(folder)
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
    themselves, nor in a folder that no run has written to: what lies there is of others.
    """
    if not any((folder / name).exists() for name in _WRITTEN):
        return
    for place, folders, files in os.walk(folder):
        deep = len(Path(place).relative_to(folder).parts) >= _LEVELS
        folders[:] = [name for name in folders if not deep and _is_open(Path(place, name))]
        for name in files:
            if is_unfinished(name):
                delete(Path(place) / name)


def _is_open(folder: Path) -> bool:
    """Whether it may be looked into, and is not claimed for itself."""
    try:
        return not (folder / _LOCK).exists()
    except OSError:
        return False
