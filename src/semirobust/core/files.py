"""Files that are written whole or not at all, and a check against archive bombs."""

import os
import tempfile
import zipfile
from pathlib import Path

from semirobust.core.errors import InputError

__all__ = ["UNFINISHED", "check_archive", "check_size", "write_atomically"]

UNFINISHED = ".semirobust-part"  # the suffix of files that are still being written

# An archive may unpack to 1 GiB, or to 100 times its own size where that is more.
_ALWAYS_ALLOWED, _MAX_RATIO = 1 << 30, 100


def check_archive(path: Path) -> None:
    """Raise ``InputError`` where a zip file would unpack to far more bytes than data do."""
    with zipfile.ZipFile(path) as archive:
        check_size(path, sum(entry.file_size for entry in archive.infolist()))


def check_size(path: Path, size: int, *, always_allowed: int = _ALWAYS_ALLOWED) -> None:
    """Raise ``InputError`` where ``size`` unpacked bytes are far too many for the archive at ``path``.

    Black pixels pack well, but gigabytes of them in a few megabytes are an attack on the machine.
    """
    if size > max(always_allowed, _MAX_RATIO * path.stat().st_size):
        raise InputError(
            f"{path.name}: would unpack {path.stat().st_size:,} bytes to {size:,}; it was not read"
        )


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside ``path``, force it to disk, and rename it to ``path``.

    If this is interrupted, by a signal or a full disk, the file that was there before remains.
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
