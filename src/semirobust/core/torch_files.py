"""What is in a file of ``torch.save``, or in a plain pickle of tensors; nothing in it is executed."""

import io
import pickletools
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from semirobust.core.described import MAX_INSTRUCTIONS, Called, Name, describe
from semirobust.core.errors import InputError
from semirobust.core.files import check_archive
from semirobust.core.foreign_files import broken, recognised

__all__ = ["NUMPY_ARRAY", "Ignored", "Weights", "read_torch_file"]

# Files from before PyTorch 1.6 hold five pickles one after the other.
_PICKLES_PER_FILE = 5
_MAX_NAME = 300  # characters; the names of PyTorch's own classes have under 60
# What compresses so well is no list of tensors; torch.save does not compress.
_MAX_PACKED_PICKLE = 4 << 20
_MAX_DEPTH = 30  # of dictionaries within each other
_MAGIC = 0x1950A86A20F9469CFC6C
NUMPY_ARRAY = "a NumPy array"
_KINDS = {
    "_rebuild_qtensor": "a quantised tensor",
    "_rebuild_sparse_tensor": "a sparse tensor",
    "_rebuild_nested_tensor": "a nested tensor",
    "_rebuild_meta_tensor_no_storage": "a tensor without values",
    "numpy.scalar": "a NumPy number",
    "numpy._reconstruct": NUMPY_ARRAY,
    "numpy._frombuffer": NUMPY_ARRAY,
}
_DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
_STORAGES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Untyped": torch.uint8,
}


@dataclass(frozen=True)
class Ignored:
    """Something beside the tensors of a file that was not built.

    Attributes:
        name: of its class, or of the function that would have made it.
        is_module: whether it is a whole network.
    """

    name: str
    is_module: bool = False


class Weights(dict[Any, Any]):
    """A dictionary of a file, with the versions of the modules that its tensors are of."""

    _metadata: dict[str, Any]


def read_torch_file(path: Path) -> Any:
    """The content: dictionaries, lists, plain values, tensors, and :class:`Ignored` for all else.

    Raises:
        InputError: a damaged file, one of another kind, or one that would run commands.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old pickle protocols; unsafe ones are refused below
            _check_pickles(path)
            return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # PyTorch refuses more than it must, and a damaged file can fail in any way
        first = error
    if (kind := recognised(path)) is not None:
        raise InputError(f"{path.name}: {kind}") from None
    try:
        return _described(path)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
    except (ValueError, LookupError, TypeError, AttributeError, OSError, RuntimeError, ArithmeticError):
        raise InputError(f"{path.name}: {broken(path, first)}") from None
    except zipfile.BadZipFile:
        raise InputError(f"{path.name}: {broken(path, first)}") from None


def _check_pickles(path: Path) -> None:
    """Refuse what would keep the reader busy: archives and pickles that unpack to absurd sizes, and absurdly
    long names, over which PyTorch would complain for minutes.
    """
    if zipfile.is_zipfile(path):
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            inside = [entry for entry in archive.infolist() if entry.filename.endswith("data.pkl")]
            if any(e.file_size > max(_MAX_PACKED_PICKLE, 10 * e.compress_size) for e in inside):
                raise InputError(f"{path.name}: its pickle would unpack to far more bytes; it was not read")
            pickles = [io.BytesIO(archive.read(entry)) for entry in inside]
    else:
        # One stream several times: each pass reads on where the last pickle ended.
        pickles = [io.BytesIO(path.read_bytes())] * _PICKLES_PER_FILE
    count = 0
    for stream in pickles:
        try:
            for operation, argument, _ in pickletools.genops(stream):
                count += 1
                if count > MAX_INSTRUCTIONS or (
                    operation.name in ("GLOBAL", "INST") and len(str(argument)) > _MAX_NAME
                ):
                    raise InputError(
                        f"{path.name}: expected a state dict, got a pickle with names of absurd length or"
                        " more instructions than any checkpoint has; nothing was run"
                    )
        except InputError:
            raise
        except ValueError:  # the end, or damage, which the reader will report
            return


def _described(path: Path) -> Any:
    """The content by a reader that calls nothing, for files with more than PyTorch lets pass."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _from_zip(archive)
    with path.open("rb") as file:
        return _from_stream(file)


def _from_zip(archive: zipfile.ZipFile) -> Any:
    name = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
    folder = name.removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
        raise InputError("expected tensors in little-endian order, got big-endian ones")
    content = describe(io.BytesIO(archive.read(name)))
    return _Reader(lambda key: archive.read(f"{folder}data/{key}")).plain(content)


def _from_stream(file: IO[bytes]) -> Any:
    """A file from before PyTorch 1.6, or a plain pickle."""
    content = describe(file)
    if content != _MAGIC:
        return _Reader(_none).plain(content)
    for _ in range(2):  # the version of the format, and the sizes of C's types
        describe(file)
    content, keys = describe(file), describe(file)
    found: dict[str, bytes] = {}
    sizes, rest = _item_sizes(content), memoryview(file.read())
    for key in keys:
        end = 8 + int.from_bytes(rest[:8], "little") * sizes.get(key, 1)
        found[key], rest = bytes(rest[8:end]), rest[end:]
    return _Reader(found.__getitem__).plain(content)


def _none(key: str) -> bytes:
    raise ValueError(f"no storage {key}")


def _item_sizes(content: Any) -> dict[str, int]:
    """The bytes of an element of each storage that the content refers to."""
    sizes, seen, left = dict[str, int](), set[int](), [content]
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Called):
            left += [*value.arguments, value.state, *value.items, *value.entries.values()]
            if value.name == "persistent":
                kind, key = value.arguments[0][1:3]
                sizes[key] = _dtype_of_storage(kind).itemsize
        elif isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list | tuple):
            left += value
    return sizes


def _dtype_of_storage(kind: Any) -> torch.dtype:
    name = kind.name if isinstance(kind, Name) else ""
    return _STORAGES[name.rpartition(".")[2].removesuffix("Storage")]


class _Reader:
    """Plain content from a description, with tensors from the storages beside it."""

    def __init__(self, storage: Callable[[str], bytes]) -> None:
        self.storage = storage
        self.storages: dict[str, Tensor] = {}
        self.made: dict[int, Any] = {}

    def plain(self, value: Any, depth: int = 0) -> Any:
        if not isinstance(value, Called | Name | dict | list | tuple):
            return value
        if id(value) not in self.made:
            if depth > _MAX_DEPTH:
                return Ignored("something deep inside")
            self._make(value, depth + 1)
        return self.made[id(value)]

    def _make(self, value: Any, depth: int) -> None:
        if isinstance(value, Name):
            self.made[id(value)] = Ignored(value.name)
        elif isinstance(value, list | tuple):
            sequence: list[Any] = []
            self.made[id(value)] = sequence  # before its content, which may refer to it
            sequence.extend(self.plain(item, depth) for item in value)
        elif isinstance(value, dict) or value.entries or value.name == "collections.OrderedDict":
            found = self.made[id(value)] = Weights()
            entries = value if isinstance(value, dict) else value.entries
            found.update({key: self.plain(item, depth) for key, item in entries.items()})
            state = value.state if isinstance(value, Called) else None
            if isinstance(state, dict) and isinstance(versions := state.get("_metadata"), dict | Called):
                found._metadata = self.plain(versions, depth)
        else:
            self.made[id(value)] = self._built(value)

    def _built(self, value: Called) -> Any:
        """A tensor, or what stands for all else."""
        name = value.name.removeprefix("torch._utils.")
        match name, value.arguments:
            case (("_rebuild_parameter" | "_rebuild_parameter_with_state"), (data, *_)):
                return self.plain(data)
            case "torch._tensor._rebuild_from_type_v2", (Name() as function, _, tuple() as arguments, *_):
                return self._built(Called(function.name, arguments))
            case "persistent", (tuple() as reference,):  # a storage by itself
                return self._persistent(*reference)
            case (("_rebuild_tensor" | "_rebuild_tensor_v2"), (stored, offset, size, stride, *_)):
                return self._tensor(stored, None, offset, size, stride)
            case "_rebuild_tensor_v3", (stored, offset, size, stride, _, _, Name() as dtype, *_):
                return self._tensor(stored, _DTYPES[dtype.name], offset, size, stride)
        state = value.state if isinstance(value.state, dict) else {}
        short = f"numpy.{name.rpartition('.')[2]}" if name.startswith("numpy.") else name
        plain = value.name.removeprefix("__builtin__.").removeprefix("builtins.")
        return Ignored(_KINDS.get(short, plain), is_module={"_modules", "_parameters"} <= state.keys())

    def _tensor(self, stored: Any, dtype: torch.dtype | None, offset: int, size: Any, stride: Any) -> Tensor:
        flat = self._stored(stored)
        flat = flat if dtype is None else flat.view(dtype)
        numbers = [offset, *size, *stride]
        if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError("a tensor of no shape")
        if 0 in size:
            return flat.new_empty(size)
        if offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) >= len(flat):
            raise ValueError("a tensor beyond its storage")
        return flat.as_strided(size, stride, offset)

    def _stored(self, stored: Any) -> Tensor:
        if not isinstance(stored, Called):
            raise ValueError("no storage")
        if stored.name == "torch.storage._load_from_bytes":  # of a plain pickle
            found = _from_stream(io.BytesIO(stored.arguments[0]))
        elif stored.name == "persistent":
            found = self._persistent(*stored.arguments[0])
        else:
            raise ValueError("no storage")
        if not isinstance(found, Tensor):
            raise ValueError("no storage")
        return found

    def _persistent(self, _: str, kind: Any, key: str, *rest: Any) -> Tensor:
        if key not in self.storages:
            content, dtype = bytearray(self.storage(key)), _dtype_of_storage(kind)
            whole = len(content) - len(content) % dtype.itemsize
            self.storages[key] = (
                torch.frombuffer(content, dtype=dtype, count=whole // dtype.itemsize)
                if whole
                else torch.empty(0, dtype=dtype)
            )
        return self.storages[key]
