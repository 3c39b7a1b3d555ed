"""Which links are followed: those that the user names, and no others.

What a user names may be a link, since caches and data sets are made of them: ``given_file``,
``given_folder`` and ``given_out`` resolve it once, where it enters. Behind that no part of a path may be a
link, and a file may have one name alone.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from semirobust.core.errors import InputError

__all__ = [
    "Linked",
    "check_inside",
    "check_plain",
    "entries_of",
    "following_links",
    "follows_links",
    "given_file",
    "given_folder",
    "given_out",
    "is_given",
    "linked",
    "real",
]

_MAX_ENTRIES = 10_000_000  # of a folder
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
_FOLLOWED = ContextVar("links", default=False)
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
    found = real(path)
    return path if found == os.path.abspath(path) else Path(found)  # noqa: PTH100 - keeps links


def given_out(path: str | Path) -> Path:
    """A file that the user names to be written: the links above it are resolved, it may be none itself."""
    try:
        path = Path(path)
    except TypeError:
        raise InputError(f"expected the name of a file or folder, got {type(path).__name__}") from None
    if not path.name or path.name == ".." or "\0" in path.name:
        return given_folder(path)
    return given_folder(path.parent) / path.name


def real(path: Path) -> str:
    """The path without any link."""
    try:
        return os.path.realpath(path)
    except ValueError:  # a zero character
        raise InputError(f"expected the name of a file or folder, got {str(path)!r}") from None
    except FileNotFoundError:  # of a name that is looked for where the process stands
        raise InputError("the current folder has been deleted; change to another one and try again") from None


@contextmanager
def following_links() -> Iterator[None]:
    """Within it, links and files of several names are read, because the user says that they are his own."""
    token = _FOLLOWED.set(True)
    try:
        yield
    finally:
        _FOLLOWED.reset(token)


def follows_links() -> bool:
    """Whether :func:`following_links` holds."""
    return _FOLLOWED.get()


def is_given(path: Path) -> bool:
    """Whether links to this file are followed: the user has named it or allows them, or Hugging Face's cache
    is made of them.
    """
    return follows_links() or str(path) in _GIVEN or _is_in_hub(path)


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
    return Path(real(path)).parent == Path(real(path.parent.parent.parent)) / "blobs"


def check_plain(path: Path, state: os.stat_result, *, links: bool = False) -> None:
    """Raise ``InputError`` where what lies at ``path`` is no plain file with one name; with ``links`` it may
    have several.
    """
    kind = stat.S_IFMT(state.st_mode)
    if kind == stat.S_IFLNK:
        raise linked(path)
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


def linked(path: Path) -> Linked:
    """What is said of a link."""
    return Linked(
        f"{path}: is a symbolic link, which is neither followed nor replaced there; put the file itself in"
        " its place, or choose another name"
    )


def entries_of(folder: Path, skipped: Callable[[str], bool]) -> list[tuple[Path, bool]]:
    """What lies in a folder, by name, and whether it is a folder; pipes, sockets and devices are left out.

    Args:
        skipped: names of which nothing is asked.

    Raises:
        Linked: a link is among them, unless within :func:`following_links`.
        InputError: more than ten million.
    """
    found = []
    with os.scandir(folder) as inside:
        for entry in inside:
            if skipped(entry.name):
                continue
            if entry.is_symlink() and not follows_links():
                raise linked(Path(entry.path))
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # a link that leads to itself
                raise linked(Path(entry.path)) from None
            if is_folder or is_file:
                found.append((Path(entry.path), is_folder))
            if len(found) > _MAX_ENTRIES:
                raise InputError(f"{folder}: expected at most {_MAX_ENTRIES:,} files and folders, got more")
    return sorted(found)
