"""Where data sets are looked for, and how they are downloaded."""

import lzma
import os
import tarfile
import zlib
from pathlib import Path

import pooch

from semirobust.core.errors import InputError
from semirobust.core.files import check_size
from semirobust.core.progress import Progress, silent
from semirobust.data.base.catalogue import CATALOGUE, Remote

__all__ = ["data_roots", "download", "find_file", "find_folder"]


def data_roots(root: str | Path | None = None) -> tuple[Path, ...]:
    """The folders to look for data in: ``root`` alone if given, else ``$SEMIROBUST_DATA``, ``data`` and the
    cache, in this order.
    """
    if root is not None:
        return (Path(root),)
    configured = os.environ.get("SEMIROBUST_DATA")
    cache = Path(pooch.os_cache("semirobust"))
    return (*((Path(configured),) if configured else ()), Path("data"), cache)


def find_folder(name: str, root: str | Path | None, markers: tuple[str, ...]) -> Path:
    """The folder of data set ``name``: the first that contains any of the files ``markers``.

    Looks into each data root and its sub-folder for the data set. An archive of the data set that lies there
    is unpacked in place.

    Raises:
        InputError: there is none; the sentence lists the folders and says how to download the data set.
    """
    entry = CATALOGUE[name]
    tried = []
    for base in data_roots(root):
        for folder in dict.fromkeys((base / entry.folder, base)):
            tried.append(str(folder))
            if any(find_file(folder, marker) for marker in markers):
                return folder
            for remote in entry.remotes:
                archive = folder / remote.filename
                if remote.filename.endswith(".tar.gz") and archive.is_file():
                    unpack(archive, folder)
                    return folder
    hint = (
        f"fetch it with `semirobust data --fetch {name}`" if entry.remotes else "it must be fetched by hand"
    )
    raise InputError(
        f"data {name!r}: expected {markers[0]} in one of {', '.join(tried)}; {hint} or name a folder with"
        " --data-root"
    )


def find_file(folder: Path, name: str) -> Path | None:
    """``name`` directly in ``folder`` or one level below; None if absent."""
    if (folder / name).exists():
        return folder / name
    if not folder.is_dir():
        return None
    # Folders of other data sets are left out, because MNIST and Fashion-MNIST have files of the same names.
    others = {entry.folder for entry in CATALOGUE.values()}
    below = sorted(path for path in folder.glob(f"*/{name}") if path.parent.name not in others)
    return below[0] if below else None


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive into ``folder``.

    Raises:
        InputError: the archive is damaged or would unpack to absurdly many bytes, or a member is a link, a
            device, or would lie outside ``folder``.
    """
    try:
        with tarfile.open(archive) as tar:
            size = 0
            for member in tar:  # all sizes are checked before anything is written
                size += member.size
                check_size(archive, size)
            tar.extractall(folder, filter="data")
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


def download(name: str, root: str | Path | None = None, *, progress: Progress = silent) -> Path:
    """Download data set ``name`` from its official address into ``root``, or into the cache where None.

    Returns:
        the folder of the data set.

    Raises:
        InputError: the data set has no official download, the network fails, or a checksum is wrong.
    """
    if name not in CATALOGUE or not CATALOGUE[name].remotes:
        known = ", ".join(entry.name for entry in CATALOGUE.values() if entry.remotes)
        raise InputError(f"data: expected one of {known} to download, got {name!r}")
    entry = CATALOGUE[name]
    base = Path(root) if root is not None else data_roots()[-1]
    folder = base / entry.folder
    for remote in entry.remotes:
        _fetch(remote, folder, progress)
        if remote.filename.endswith(".tar.gz"):
            unpack(folder / remote.filename, folder)
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
    downloader = pooch.HTTPDownloader(progressbar=_Bar(remote.filename, progress), timeout=30)
    pooch.get_logger().setLevel("ERROR")  # its progress is reported through `_Bar`
    try:
        pooch.retrieve(
            remote.url, f"md5:{remote.md5}", fname=remote.filename, path=folder, downloader=downloader
        )
    except ValueError:
        raise InputError(
            f"{remote.filename}: expected MD5 {remote.md5}, got another; the download is damaged, try again"
        ) from None
    except OSError as error:
        raise InputError(
            f"{remote.filename}: cannot be downloaded ({type(error).__name__}); without a network, get"
            f" {remote.url} elsewhere and put it into {folder}"
        ) from None
