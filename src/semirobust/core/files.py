"""The one place where files are opened and written: what was not made by this project is never followed,
waited for or replaced. Which links are followed says ``core/links.py``.
"""

import errno
import glob
import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from semirobust.core.errors import InputError
from semirobust.core.links import check_inside, check_plain, is_given, linked, real

__all__ = [
    "UNFINISHED",
    "check_place",
    "delete",
    "forget_unfinished",
    "is_unfinished",
    "make_folder",
    "move",
    "opened",
    "read_bytes",
    "read_text",
    "write_atomically",
]

UNFINISHED = ".semirobust-part"  # the suffix of files that are still being written

_LEAST = 1 << 20  # bytes that may be read of a file whose size is said to be less, as in /proc
# Flags of ``os.open``, as far as the system has them.
_SAFE = 0
for _name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _SAFE |= getattr(os, _name, 0)


@contextmanager
def opened(path: Path, *, most: int | None = None, links: bool = False) -> Iterator[IO[bytes]]:
    """A plain file, to be read: nothing else is opened, waited for or followed.

    Args:
        most: bytes that it may have and that are read; None for as many as it had when it was opened, so that
            a file that grows has an end.
        links: whether it may be a link or below one, and have several names.

    Raises:
        InputError: a link, a named pipe, a device, a socket, a folder, or more bytes than that.
        OSError: there is none, or it cannot be opened.
    """
    links = links or is_given(path)
    place = path if not links else Path(real(path))
    check_inside(place)
    check_plain(path, os.lstat(place), links=links)
    try:
        handle = os.open(place, os.O_RDONLY | _SAFE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise linked(path) from None
        raise
    try:
        state = os.fstat(handle)
        check_plain(path, state, links=links)
        if most is not None and state.st_size > most:
            raise InputError(
                f"{path.name}: expected at most {most:,} bytes, got {state.st_size:,}; it was not read"
            )
        raw = _Bounded(handle, path.name, max(state.st_size, _LEAST) if most is None else most)
    except BaseException:
        os.close(handle)
        raise
    with io.BufferedReader(raw) as file:
        yield file


class _Bounded(io.FileIO):
    """A file of which no byte behind the first ``most`` is read."""

    def __init__(self, handle: int, called: str, most: int) -> None:
        super().__init__(handle, "rb")
        self.called, self.most = called, most

    def _check(self) -> None:
        if self.tell() > self.most:
            raise InputError(
                f"{self.called}: expected at most {self.most:,} bytes, got more; does another program still"
                " write it?"
            )

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        count = super().readinto(buffer)
        self._check()
        return count or 0

    def readall(self) -> bytes:
        found = super().read(max(0, self.most - self.tell()) + 1) or b""
        self._check()
        while more := super().read(1 << 16):
            found += more
            self._check()
        return found


def read_bytes(path: Path, *, most: int | None = None, links: bool = False) -> bytes:
    """The content of a plain file; arguments and errors as in :func:`opened`."""
    with opened(path, most=most, links=links) as file:
        return file.read()


def read_text(path: Path, *, most: int | None = None, links: bool = False) -> str:
    """The text of a plain file; arguments and errors as in :func:`opened`, and InputError where it is no
    UTF-8. The mark that some editors put in front is left out.
    """
    try:
        return read_bytes(path, most=most, links=links).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path.name}: expected text in UTF-8, got other bytes") from None


def make_folder(path: Path) -> None:
    """Make a folder and those above it; none of them may be a link.

    Raises:
        InputError: one of them is.
        OSError: it cannot be made.
    """
    check_inside(path / "inside")
    path.mkdir(parents=True, exist_ok=True)


def forget_unfinished(path: Path) -> None:
    """Delete what a process that was killed left of ``path`` while it wrote it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{UNFINISHED}"):
        with suppress(OSError):
            left.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside ``path``, force it to disk, and rename it to ``path``.

    If this is interrupted, by a signal or a full disk, the file that was there before remains. Its mode is
    kept; a new file has that of any new file.

    Raises:
        InputError: a link, a device, a folder or something else that is no plain file with one name lies
            there, or a folder above it is a link.
        OSError: it cannot be written.
    """
    before = check_place(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
    # The system takes away what the user's umask and the folder say.
    handle = os.open(temporary, flags, 0o666 if before is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if before is not None:
                _keep_rights(file.fileno(), temporary, before)
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_place(path: Path) -> os.stat_result | None:
    """Of the plain file at ``path``, which may be replaced; None where nothing is.

    Raises:
        InputError: as in :func:`write_atomically`.
    """
    if not path.name:
        raise InputError(f"out: expected a file, got {str(path)!r}")
    check_inside(path)
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return None
    check_plain(path, state)
    return state


def _keep_rights(handle: int, path: Path, before: os.stat_result) -> None:
    """Give a new file the group and the mode of the one that it replaces; where it cannot have that group,
    the mode without the group's rights, which another group would get.
    """
    mode = stat.S_IMODE(before.st_mode) & 0o777
    if hasattr(os, "fchown") and os.fstat(handle).st_gid != before.st_gid:
        try:
            os.fchown(handle, -1, before.st_gid)
        except OSError:
            mode &= ~0o070
    path.chmod(mode)


def delete(path: Path) -> None:
    """Delete a file, if it is there; a link or pipe of that name is deleted itself, nothing behind it.

    Raises:
        InputError: a folder above it is a link.
    """
    check_inside(path)
    path.unlink(missing_ok=True)


def move(path: Path, to: Path) -> None:
    """Rename a plain file or a folder, in place of the plain file that may be there.

    Raises:
        InputError: one of the two is something else, or a folder above them is a link.
    """
    for each in (path, to):
        check_inside(each)
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR((state := os.lstat(each)).st_mode):
                check_plain(each, state)
    path.replace(to)


def is_unfinished(name: str) -> bool:
    """Whether a file of that name was being written when its program was killed."""
    return name.startswith(".") and name.endswith(UNFINISHED)


def _sync(folder: Path) -> None:
    """Force the renaming to disk too; file systems that cannot do so are left alone."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
