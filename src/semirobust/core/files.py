"""The one place where files are opened and written: what was not made by this project is never followed,
waited for or replaced.

What a user names may be a link, since caches and data sets are made of them: ``given_file``, ``given_folder``
and ``given_out`` resolve it once, where it enters. Behind that no part of a path may be a link, a file may
have one name alone, and only plain files are opened.
"""

import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from semirobust.core.errors import InputError

__all__ = [
    "UNFINISHED",
    "Linked",
    "check_inside",
    "delete",
    "given_file",
    "given_folder",
    "given_out",
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
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
# Flags of ``os.open``, as far as the system has them.
_SAFE = 0
for _name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _SAFE |= getattr(os, _name, 0)
_GIVEN: set[str] = set()  # files that the user has named in this process, which may be links


class Linked(InputError):
    """A symbolic or hard link where none is followed."""


def given_file(path: str | Path) -> Path:
    """A file that the user names to be read, with the links above it resolved.

    It may be a link itself and have several names; it keeps the name by which it is known.
    """
    path = given_out(path)
    _GIVEN.add(str(path))
    return path


def given_folder(path: str | Path) -> Path:
    """A folder that the user names, itself and the links above it resolved; as it was written where it has
    none.
    """
    path = Path(path)
    real = _real(path)
    return path if real == os.path.normpath(Path.cwd() / path) else Path(real)


def given_out(path: str | Path) -> Path:
    """A file that the user names to be written: the links above it are resolved, it may be none itself."""
    path = Path(path)
    if not path.name or path.name == "..":
        return given_folder(path)
    return given_folder(path.parent) / path.name


def _real(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # a zero character
        raise InputError(f"expected the name of a file or folder, got {str(path)!r}") from None


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
    links = links or str(path) in _GIVEN or _is_in_hub(path)
    real = path if not links else Path(_real(path))
    check_inside(real)
    _check_plain(path, os.lstat(real), links=links)
    try:
        handle = os.open(real, os.O_RDONLY | _SAFE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _linked(path) from None
        raise
    try:
        state = os.fstat(handle)
        _check_plain(path, state, links=links)
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
    UTF-8.
    """
    try:
        return read_bytes(path, most=most, links=links).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path.name}: expected text in UTF-8, got other bytes") from None


def check_inside(path: Path) -> None:
    """Raise ``Linked`` where a folder above ``path`` is a symbolic link; what is not there is none."""
    for folder in reversed(path.parents):
        if folder.is_symlink():
            raise Linked(
                f"{folder}: is a symbolic link, and what lies behind one is neither read nor written there;"
                " put the folder itself in its place, or name the one that it leads to"
            )


def _is_in_hub(path: Path) -> bool:
    """Whether a file is a link of Hugging Face's cache, from ``snapshots/REVISION`` to ``blobs``."""
    if path.parent.parent.name != "snapshots" or not path.is_symlink():
        return False
    return Path(_real(path)).parent == Path(_real(path.parent.parent.parent)) / "blobs"


def _check_plain(path: Path, state: os.stat_result, *, links: bool = False) -> None:
    kind = stat.S_IFMT(state.st_mode)
    if kind == stat.S_IFLNK:
        raise _linked(path)
    if kind != stat.S_IFREG:
        raise InputError(
            f"{path}: expected a plain file, got {_KINDS.get(kind, 'something else')}; take it away or choose"
            " another name"
        )
    if state.st_nlink > 1 and not links:
        raise Linked(
            f"{path}: has {state.st_nlink} names (hard links), of which others may lie anywhere; put a copy"
            " in its place"
        )


def _linked(path: Path) -> Linked:
    return Linked(
        f"{path}: is a symbolic link, which is neither followed nor replaced there; put the file itself in"
        " its place, or choose another name"
    )


def make_folder(path: Path) -> None:
    """Make a folder and those above it; none of them may be a link.

    Raises:
        InputError: one of them is.
        OSError: it cannot be made.
    """
    check_inside(path / "inside")
    path.mkdir(parents=True, exist_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside ``path``, force it to disk, and rename it to ``path``.

    If this is interrupted, by a signal or a full disk, the file that was there before remains. Its mode is
    kept; a new file has that of any new file.

    Raises:
        InputError: a link, a device, a folder or something else that is no plain file with one name lies
            there, or a folder above it is a link.
        OSError: it cannot be written.
    """
    if not path.name:
        raise InputError(f"out: expected a file, got {str(path)!r}")
    make_folder(path.parent)
    before = _state_of(path)
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


def _state_of(path: Path) -> os.stat_result | None:
    """Of the plain file at ``path``; None where nothing is."""
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return None
    _check_plain(path, state)
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
                _check_plain(each, state)
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
