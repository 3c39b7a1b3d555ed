"""Where data sets are looked for, and how they are downloaded."""

import hashlib
import lzma
import os
import tarfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

from semirobust.core.budget import BUDGET, check_count, check_size
from semirobust.core.errors import InputError
from semirobust.core.files import UNFINISHED, check_place, delete, move, opened, read_bytes, write_atomically
from semirobust.core.links import given_folder
from semirobust.core.nearest import meant
from semirobust.core.progress import Progress, silent
from semirobust.data.base.catalogue import CATALOGUE, Remote

__all__ = ["data_roots", "download", "find_file", "find_folder", "not_found"]

_ARCHIVE = ".tar.gz"  # of those that are fetched
_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".tar.xz", ".tar.bz2", ".zip")
_CHUNK = 1 << 20  # bytes of a file of which the sum is formed at once


def data_roots(root: str | Path | None = None) -> tuple[Path, ...]:
    """The folders to look for data in: ``root`` alone if given, else ``$SEMIROBUST_DATA``, ``data`` and the
    cache, in this order.
    """
    if root is not None:
        return (given_folder(root),)
    import pooch

    configured = os.environ.get("SEMIROBUST_DATA")
    cache = pooch.os_cache("semirobust")
    return tuple(map(given_folder, (*((configured,) if configured else ()), "data", cache)))


def find_folder(name: str, root: str | Path | None, markers: tuple[str, ...]) -> Path:
    """The folder of data set ``name``: the first that contains any of the files ``markers``.

    Looks into each data root and its sub-folder for the data set. An archive that lies there is unpacked in
    place where it is the published one, to the last byte.

    Raises:
        InputError: there is none, or an archive that is another; the sentence lists the folders and says how
            to download the data set.
    """
    entry = CATALOGUE[name]
    tried = []
    for base in data_roots(root):
        for folder in dict.fromkeys((base / entry.folder, base)):
            tried.append(str(folder))
            if found := _with_marker(name, folder, markers):
                return found
            for remote in entry.remotes:
                archive = folder / remote.filename
                if remote.filename.endswith(_ARCHIVE) and os.path.lexists(archive):
                    unpack(archive, folder, md5=remote.md5)
                    return _with_marker(name, folder, markers) or folder
    raise not_found(name, markers[0], tried, _packed(tried))


def _packed(folders: Sequence[str]) -> str:
    """What is said of archives that lie in the folders and are not unpacked."""
    for folder in map(Path, folders):
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
        if found := [path for path in inside if path.name.lower().endswith(_ARCHIVES)]:
            return f", found {found[0]}, whose sum is not known: unpack it yourself if you trust it"
    return ""


def not_found(name: str, file: str, tried: Sequence[str], besides: str = "") -> InputError:
    """The error for a data set that is in none of the folders; ``besides`` says what is there instead."""
    hint = (
        f"fetch it with `semirobust data --fetch {name}`"
        if CATALOGUE[name].remotes
        else "it must be fetched by hand"
    )
    return InputError(
        f"data {name!r}: expected {file} in one of {', '.join(tried)}{besides}; {hint} or name a folder with"
        " --data-root"
    )


def _with_marker(name: str, folder: Path, markers: tuple[str, ...]) -> Path | None:
    """The one folder, this or one directly below, that has the first of the ``markers`` there is.

    Raises:
        InputError: several folders have it, with other content.
    """
    for marker in markers:
        found = _having(folder, marker)
        if len({hashlib.sha256(read_bytes(path)).digest() for path in found} if len(found) > 1 else ()) > 1:
            places = " and ".join(str(path.parent) for path in found)
            raise InputError(
                f"data {name!r}: expected one folder with {marker}, got {places}; name one with --data-root"
            )
        if found:
            return found[0].parent
    return None


def find_file(folder: Path, name: str) -> Path | None:
    """The file ``name`` directly in ``folder`` or one level below; None if absent."""
    found = _having(folder, name)
    return found[0] if found else None


def _having(folder: Path, name: str) -> list[Path]:
    """The files ``name``: the one directly in ``folder``, or else all that are one level below."""
    if (folder / name).is_file():
        return [folder / name]
    if not folder.is_dir():
        return []
    # Folders of other data sets are left out, because some have files of the same names.
    others = {entry.folder for entry in CATALOGUE.values()}
    return sorted(p for p in folder.glob(f"*/{name}") if p.parent.name not in others and p.is_file())


def unpack(archive: Path, folder: Path, *, md5: str | None = None) -> None:
    """Unpack the plain files of a tar archive into ``folder``.

    Args:
        md5: the sum that is published for it; None where the caller knows what it is.

    Raises:
        InputError: another archive than the published one; or it is damaged or would unpack to absurdly many
            bytes, or a member is a link, a device or of a special mode, or would lie outside ``folder``.
    """
    with opened(archive) as file:
        if md5 is not None and _md5(file) != md5:
            raise InputError(
                f"{archive}: expected the archive that is published under this name (MD5 {md5}), got another,"
                " which is not unpacked; unpack it yourself if you trust it, or take it away"
            )
        file.seek(0)
        try:
            with tarfile.open(fileobj=file) as tar:
                members, size = [], 0
                for member in tar:  # all of it is checked before anything is written
                    size += member.size
                    check_size(archive, size, least=BUDGET.tar_unpacked, ratio=BUDGET.tar_ratio)
                    _check_member(archive, member)
                    members.append(member)
                    check_count(archive.name, "entries", len(members), BUDGET.tar_entries)
                for member in members:
                    if member.isfile() and (content := tar.extractfile(member)) is not None:
                        write_atomically(folder / member.name, content.read())
        except InputError:
            raise
        except (
            tarfile.TarError,
            EOFError,
            OSError,
            ValueError,
            OverflowError,
            zlib.error,
            lzma.LZMAError,
        ) as error:
            raise InputError(
                f"{archive}: expected a complete tar archive, got one that cannot be read ({error})"
            ) from None


def _md5(file: IO[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    """Refuse what no data set has, and all that could be written elsewhere."""
    path = PurePosixPath(member.name)
    climbs = path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name
    if climbs or not (member.isreg() or member.isdir()) or member.mode & 0o7000 or member.sparse:
        raise InputError(
            f"{archive}: expected a complete tar archive of plain files within its folder, got one with"
            f" {member.name!r} in it, which is none; nothing was unpacked"
        )


def download(name: str, root: str | Path | None = None, *, progress: Progress = silent) -> Path:
    """Download data set ``name`` from its official address into ``root``, or into the cache where None.

    Returns:
        the folder of the data set.

    Raises:
        InputError: the data set has no official download, the network fails, or a checksum is wrong.
    """
    if name not in CATALOGUE or not CATALOGUE[name].remotes:
        known = ", ".join(entry.name for entry in CATALOGUE.values() if entry.remotes)
        raise InputError(f"data: expected one of {known} to download, got {name!r}{meant(name, CATALOGUE)}")
    entry = CATALOGUE[name]
    base = data_roots(root)[-1]
    folder = base / entry.folder
    for remote in entry.remotes:
        _fetch(remote, folder, progress)
        if remote.filename.endswith(_ARCHIVE):
            unpack(folder / remote.filename, folder, md5=remote.md5)
    return folder


class _Bar:
    """A progress bar, as pooch wants it, that reports to a ``Progress``."""

    def __init__(self, task: str, progress: Progress) -> None:
        self.task, self.progress, self.total, self.done = task, progress, 0, 0

    def update(self, count: int) -> None:
        self.done += count
        self.progress(self.task, min(self.done, self.total), self.total)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        self.progress(self.task, self.total, self.total)


def _fetch(remote: Remote, folder: Path, progress: Progress) -> None:
    import pooch

    downloader = pooch.HTTPDownloader(progressbar=_Bar(remote.filename, progress), timeout=30)
    check_place(folder / remote.filename)
    pooch.get_logger().setLevel("ERROR")  # its progress is reported through `_Bar`
    whole, apart = folder / remote.filename, folder / f".{remote.filename}.{os.getpid()}{UNFINISHED}"
    try:
        if whole.is_file() and pooch.file_hash(str(whole), alg="md5") == remote.md5:
            return
        _sweep(folder, remote.filename)
        pooch.retrieve(
            remote.url, f"md5:{remote.md5}", fname=remote.filename, path=apart, downloader=downloader
        )
        move(apart / remote.filename, whole)
    except ValueError:
        raise InputError(
            f"{remote.filename}: expected MD5 {remote.md5}, got another; the download is damaged, try again"
        ) from None
    except OSError as error:
        raise InputError(
            f"{remote.filename}: cannot be downloaded ({type(error).__name__}); without a network, get"
            f" {remote.url} elsewhere and put it into {folder}"
        ) from None
    finally:
        _clear(apart)


def _sweep(folder: Path, name: str) -> None:
    """Delete what a download that was killed left here; one that is under way keeps its own."""
    for left in folder.glob(f".{name}.*{UNFINISHED}"):
        pid = left.name.removesuffix(UNFINISHED).rpartition(".")[2]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            _clear(left)


def _clear(folder: Path) -> None:
    """Delete the folder of one download, and what is in it."""
    with suppress(OSError, InputError):
        for file in folder.iterdir():
            delete(file)
        folder.rmdir()
