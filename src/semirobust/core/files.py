"""Files that are written whole or not at all, and archives that are not bombs."""

import os
import tempfile
import zipfile
from pathlib import Path

from semirobust.core.errors import InputError

__all__ = ["UNFINISHED", "check_archive", "check_size", "write_atomically"]

UNFINISHED = ".semirobust-part"  # how files end that are being written
_FREE, _RATIO = 1 << 30, 100  # bytes that any archive may unpack to, and how many times its own size beyond


def check_archive(path: Path) -> None:
    """Raise ``InputError`` where a zip file would unpack to far more than any data does."""
    with zipfile.ZipFile(path) as archive:
        check_size(path, sum(entry.file_size for entry in archive.infolist()))


def check_size(path: Path, size: int) -> None:
    """Raise ``InputError`` where so many unpacked bytes are far more than any data in an archive of that
    size.

    Pixels of 0 pack well, but gigabytes of them in a few megabytes are an attempt on the machine.
    """
    if size > max(_FREE, _RATIO * path.stat().st_size):
        raise InputError(
            f"{path.name}: would unpack {path.stat().st_size:,} bytes to {size:,}; it was not read"
        )


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside ``path``, force it to disk, and rename it over ``path``.

    Whatever stops it, a signal or a full disk, leaves what was there before.
    """
    if not path.name:
        raise InputError(f"out: expected a file, got {str(path)!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        _sync(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    """Force the renaming to disk too, where the system can."""
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
