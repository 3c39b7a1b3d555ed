"""Plain content from a description of a checkpoint, with tensors from the storages beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from semirobust.core.budget import BUDGET
from semirobust.core.described import Called, Name

__all__ = [
    "DTYPES",
    "NUMPY_ARRAY",
    "Builder",
    "Ignored",
    "Weights",
    "check_shape",
    "dtype_of_storage",
    "item_sizes",
]

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
DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
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


def item_sizes(content: Any) -> dict[str, int]:
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
                sizes[key] = dtype_of_storage(kind).itemsize
        elif isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list | tuple):
            left += value
    return sizes


def dtype_of_storage(kind: Any) -> torch.dtype:
    """The dtype of a class of storages; ``KeyError`` for a class that is none."""
    name = kind.name if isinstance(kind, Name) else ""
    return _STORAGES[name.rpartition(".")[2].removesuffix("Storage")]


def check_shape(offset: Any, size: Any, stride: Any, length: int) -> None:
    """Raise ``ValueError`` where a tensor is none, or takes values from beyond its storage."""
    numbers = [offset, *size, *stride]
    if len(size) != len(stride) or not all(type(n) is int and 0 <= n < 1 << 62 for n in numbers):
        raise ValueError("a tensor of no shape")
    if 0 not in size and offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) >= length:
        raise ValueError("a tensor beyond its storage")


class Builder:
    """Plain content from a description, with tensors from the storages beside it."""

    def __init__(self, storage: Callable[[str], bytes], inside: Callable[[bytes], Any]) -> None:
        self.storage, self.inside = storage, inside
        self.storages: dict[str, Tensor] = {}
        self.made: dict[int, Any] = {}

    def plain(self, value: Any, depth: int = 0) -> Any:
        if not isinstance(value, Called | Name | dict | list | tuple):
            return value
        if id(value) not in self.made:
            if depth > BUDGET.pickle_nesting:
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
                return self._tensor(stored, DTYPES[dtype.name], offset, size, stride)
        state = value.state if isinstance(value.state, dict) else {}
        short = f"numpy.{name.rpartition('.')[2]}" if name.startswith("numpy.") else name
        plain = value.name.removeprefix("__builtin__.").removeprefix("builtins.")
        return Ignored(_KINDS.get(short, plain), is_module={"_modules", "_parameters"} <= state.keys())

    def _tensor(self, stored: Any, dtype: torch.dtype | None, offset: int, size: Any, stride: Any) -> Tensor:
        flat = self._stored(stored)
        flat = flat if dtype is None else flat.view(dtype)
        check_shape(offset, size, stride, len(flat))
        if 0 in size:
            return flat.new_empty(size)
        return flat.as_strided(size, stride, offset)

    def _stored(self, stored: Any) -> Tensor:
        if not isinstance(stored, Called):
            raise ValueError("no storage")
        if stored.name == "torch.storage._load_from_bytes":  # of a plain pickle
            found = self._inside(stored.arguments[0])
        elif stored.name == "persistent":
            found = self._persistent(*stored.arguments[0])
        else:
            raise ValueError("no storage")
        if not isinstance(found, Tensor):
            raise ValueError("no storage")
        return found

    def _inside(self, content: Any) -> Any:
        """What a pickle inside the pickle holds: a storage by itself."""
        if id(content) not in self.made:
            if not isinstance(content, bytes):
                raise ValueError("no storage")
            self.made[id(content)] = self.inside(content)
        return self.made[id(content)]

    def _persistent(self, _: str, kind: Any, key: str, *rest: Any) -> Tensor:
        if key not in self.storages:
            content, dtype = bytearray(self.storage(key)), dtype_of_storage(kind)
            whole = len(content) - len(content) % dtype.itemsize
            self.storages[key] = (
                torch.frombuffer(content, dtype=dtype, count=whole // dtype.itemsize)
                if whole
                else torch.empty(0, dtype=dtype)
            )
        return self.storages[key]
