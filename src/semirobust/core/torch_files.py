"""What is in a file of ``torch.save``, or in a plain pickle of tensors; nothing in it is executed."""

import io
import mmap
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch

from semirobust.core.archives import check_archive, is_zip
from semirobust.core.budget import BUDGET
from semirobust.core.built import DTYPES, Builder, check_shape, dtype_of_storage, item_sizes
from semirobust.core.described import Called, Name, Spent, describe
from semirobust.core.errors import InputError
from semirobust.core.files import opened
from semirobust.core.foreign_files import broken, recognised
from semirobust.core.pickles import check_pickles

__all__ = ["read_torch_file"]

_MAGIC = 0x1950A86A20F9469CFC6C
# How a damaged file fails.
_DAMAGE = (
    *(ValueError, LookupError, TypeError, AttributeError, OSError, RuntimeError, ArithmeticError, EOFError),
    *(MemoryError, zipfile.BadZipFile, zlib.error),
)


def read_torch_file(path: Path) -> Any:
    """The content: dictionaries, lists, plain values, tensors, and :class:`Ignored` for all else.

    A description of the file, for which nothing is called, is made first. PyTorch reads the file where that
    has nothing in it but tensors within their storages; else they are taken from the description.

    Raises:
        InputError: a damaged file, one of another kind, or one that would run commands.
    """
    try:
        described = _described(path)
    except InputError as error:
        raise InputError(f"{path.name}: {str(error).removeprefix(f'{path.name}: ')}") from None
    except _DAMAGE as error:
        raise InputError(f"{path.name}: {recognised(path) or broken(path, error)}") from None
    first: Exception | None = None
    if described.harmless:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about old pickle protocols
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # PyTorch refuses more than it must
            first = error
    if (kind := recognised(path)) is not None:
        raise InputError(f"{path.name}: {kind}") from None
    try:
        return described.content()
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
    except _DAMAGE as error:
        raise InputError(f"{path.name}: {broken(path, first or error)}") from None


@dataclass(frozen=True)
class _Described:
    """What a file says that it holds.

    Attributes:
        harmless: PyTorch may read it.
        content: builds it from the description.
    """

    harmless: bool
    content: Callable[[], Any]


def _described(path: Path) -> _Described:
    """The description of a file, which is checked before it is made."""
    size = path.stat().st_size
    spent = Spent(size)
    if is_zip(path):
        return _of_zip(path, spent)
    if not size:
        raise ValueError("empty")
    with (
        opened(path) as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
    ):
        check_pickles(view, size, pickles=BUDGET.pickles)
    return _of_stream(lambda: _mapped(path), size, spent)


def _mapped(path: Path) -> IO[bytes]:
    """A file in memory, of which nobody can ask for more bytes than it has."""
    with opened(path) as file:
        return cast("IO[bytes]", mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _of_zip(path: Path, spent: Spent) -> _Described:
    check_archive(path, least=BUDGET.tensor_bytes, ratio=BUDGET.tensor_ratio, entries=BUDGET.zip_entries)
    with opened(path) as whole, zipfile.ZipFile(whole) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickles = [name for name in entries if name.rpartition("/")[2] == "data.pkl"]
        if not pickles:
            raise ValueError("no data.pkl")
        name = pickles[0]
        folder = name.removesuffix("data.pkl")
        pickle = _pickle_of(archive, entries[name])
        order = f"{folder}byteorder"
        if order in entries and _bytes_of(archive, entries[order], 16) != b"little":
            raise InputError("expected tensors in little-endian order, got big-endian ones")
        alike = _is_plain(archive)
    check_pickles(pickle, spent.size)
    content = describe(io.BytesIO(pickle), spent)
    sizes = {entry.filename.removeprefix(f"{folder}data/"): entry.file_size for entry in entries.values()}

    def read(key: str) -> bytes:
        with opened(path) as whole, zipfile.ZipFile(whole) as archive:
            return archive.read(f"{folder}data/{key}")

    harmless = alike and _is_harmless(spent, sizes)
    return _Described(harmless, lambda: Builder(read, _inside(spent)).plain(content))


def _is_plain(archive: zipfile.ZipFile) -> bool:
    """Whether PyTorch's reader of archives and Python's cannot take different files for the same."""
    found = archive.infolist()
    names = {entry.filename.lower() for entry in found}
    return (
        len(names) == len(found)
        and sum(name.endswith("data.pkl") for name in names) == 1
        and min(entry.header_offset for entry in found) == 0
        and not archive.comment
    )


def _pickle_of(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The pickle in an archive, where it is none that unpacks to far more bytes."""
    most = min(max(BUDGET.pickle_small, BUDGET.pickle_ratio * entry.compress_size), BUDGET.pickle)
    if entry.file_size > most:
        raise InputError("its pickle would unpack to far more bytes; it was not read")
    return _bytes_of(archive, entry, most)


def _bytes_of(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    with archive.open(entry) as file:
        return file.read(most + 1)


def _of_stream(begin: Callable[[], AbstractContextManager[IO[bytes]]], size: int, spent: Spent) -> _Described:
    """A file from before PyTorch 1.6, or a plain pickle, of so many bytes."""
    places: dict[str, tuple[int, int]] = {}

    def read(key: str) -> bytes:
        at, length = places[key]
        with begin() as again:
            again.seek(at)
            return again.read(length)

    with begin() as file:
        content = describe(file, spent)
        if content != _MAGIC:
            return _Described(False, lambda: Builder(read, _inside(spent)).plain(content))
        for _ in range(2):  # the version of the format, and the sizes of C's types
            describe(file, spent)
        content, keys = describe(file, spent), describe(file, spent)
        sizes, start = item_sizes(content), file.tell()
        for key in keys:
            file.seek(start)
            length = int.from_bytes(file.read(8), "little") * sizes.get(key, 1)
            if start + 8 + length > size:
                raise ValueError("a storage beyond the file")
            places[key] = start + 8, length
            start += 8 + length
    harmless = _is_harmless(spent, {key: length for key, (_, length) in places.items()})
    return _Described(harmless, lambda: Builder(read, _inside(spent)).plain(content))


def _inside(spent: Spent) -> Callable[[bytes], Any]:
    """Reads a storage by itself that lies as a file inside the pickle."""

    def read(content: bytes) -> Any:
        check_pickles(content, spent.size, pickles=BUDGET.pickles)
        return _of_stream(lambda: io.BytesIO(content), len(content), spent).content()

    return read


# What PyTorch builds without copying, filling or computing anything.
_HARMLESS = {
    *("collections.OrderedDict", "torch._utils._rebuild_parameter", "torch.Size", "torch.device"),
    "torch._utils._rebuild_parameter_with_state",
}
_OF_A_STORAGE = {
    *("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"),
    *("torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_qtensor"),
}


def _is_harmless(spent: Spent, sizes: Mapping[str, int]) -> bool:
    """Whether all that a description calls are tensors within storages that are there."""
    tensors = sum(call.name in _OF_A_STORAGE for call in spent.calls)
    if tensors > BUDGET.rebuilt:
        raise InputError(f"expected at most {BUDGET.rebuilt:,} tensors, got {tensors:,}; it was not read")
    try:
        return spent.plain and all(_fits(call, sizes) for call in spent.calls)
    except (TypeError, ValueError, LookupError, AttributeError):
        return False


def _fits(call: Called, sizes: Mapping[str, int]) -> bool:
    match call.name, call.arguments:
        case "persistent", (("storage", Name() as kind, str() as key, str(), int() as count, *_),):
            return 0 <= count * dtype_of_storage(kind).itemsize <= sizes[key]
        case name, (
            Called("persistent", ((_, Name() as kind, _, _, int() as count, *_),)),
            offset,
            size,
            stride,
            *rest,
        ) if name in _OF_A_STORAGE:
            width = dtype_of_storage(kind).itemsize
            of_v3 = name.endswith("_v3") and isinstance(rest[2], Name)
            own = DTYPES[rest[2].name].itemsize if of_v3 else width
            check_shape(offset, size, stride, count * width // own)
            return True
        case name, _:
            return name in _HARMLESS
