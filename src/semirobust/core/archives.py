"""Zip files, checked before they are unpacked."""

import zipfile
from pathlib import Path

from semirobust.core.budget import BUDGET, check_count, check_size
from semirobust.core.errors import InputError
from semirobust.core.files import opened

__all__ = ["check_archive", "has_too_many", "is_zip"]

_END, _END_BYTES, _COMMENT = b"PK\5\6", 22, 1 << 16
_END64, _LOCATOR64 = b"PK\6\6", b"PK\6\7"


def check_archive(path: Path, *, entries: int, least: int | None = None, ratio: int | None = None) -> None:
    """Raise ``InputError`` where a zip file has absurdly many entries, or would unpack to far more bytes than
    data do.

    Args:
        entries: how many there may be.
        least, ratio: as in :func:`~semirobust.core.budget.check_size`.
    """
    if has_too_many(path):
        raise InputError(f"{path.name}: an archive of absurdly many entries; it was not read")
    with opened(path) as whole, zipfile.ZipFile(whole) as archive:
        found = archive.infolist()
        check_count(path.name, "entries in an archive", len(found), entries)
        check_size(path, sum(max(entry.file_size, 0) for entry in found), least=least, ratio=ratio)


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, or one in parts or of a later version, which nobody reads."""
    try:
        return zipfile.is_zipfile(path)
    except (zipfile.BadZipFile, NotImplementedError):
        return True


def has_too_many(path: Path) -> bool:
    """Whether the list of entries of a zip file is too long to read it."""
    return _directory(path) > BUDGET.zip_directory


def _directory(path: Path) -> int:
    """Bytes of the list of entries, which would be read as a whole; 0 where the file does not say."""
    with opened(path) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END_BYTES - _COMMENT - 20))
        tail = file.read()
        at = tail.rfind(_END)
        claimed = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
        if at >= 20 and tail[at - 20 : at - 16] == _LOCATOR64:
            file.seek(min(int.from_bytes(tail[at - 12 : at - 4], "little"), size))
            head = file.read(56)
            if head[:4] == _END64:
                claimed = int.from_bytes(head[40:48], "little")
    return min(claimed, size)
