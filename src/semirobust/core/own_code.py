"""The code of a user's own that an object runs, as a hash, so that an edit is noticed."""

import dataclasses
import functools
import hashlib
import re
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semirobust.core.files import read_bytes
from semirobust.core.tensor_files import bytes_of

__all__ = ["code_of", "settings_text"]

_PACKAGE = Path(__file__).resolve().parents[1]
# Code of others is known by its version, and this package by its own.
_OTHERS = tuple(
    {str(Path(folder).resolve()) for key in ("stdlib", "platstdlib", "purelib", "platlib")
     if (folder := sysconfig.get_path(key))} | {str(_PACKAGE)}
)  # fmt: skip
_PLAIN = (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device, range)
_DEEPEST = 40


def code_of(*things: object) -> str:
    """Twelve hex digits over the code of the user's own in ``things``, and the values that it closes over.

    Of a function it is the compiled code with its constants, defaults, closure and the globals that it names;
    of a class its methods and attributes; of an object its class and its attributes; of a module of PyTorch
    its classes and not its weights. Of code in this package, in Python's own library and in installed
    packages it is the name. Comments and the place in a file do not count.

    Returns:
        the digits; empty where nothing is the user's own.
    """
    found = _Code()
    for thing in things:
        found.add(thing, 0)
    return found.digest.hexdigest()[:12] if found.any else ""


def settings_text(thing: object) -> str:
    """A dataclass as text, with the fields that differ from their defaults; addresses in memory left out."""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        shown = []
        for field in _settings(thing):
            value, default = getattr(thing, field.name), field.default
            if default is dataclasses.MISSING or repr(value) != repr(default):
                shown.append(f"{field.name}={settings_text(value)}")
        return f"{type(thing).__name__}({', '.join(shown)})"
    if isinstance(thing, list | tuple):
        return f"({', '.join(map(settings_text, thing))})"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


class _Code:
    """What has been met so far."""

    def __init__(self) -> None:
        self.digest, self.any, self.seen = hashlib.sha256(), False, dict[int, object]()

    def say(self, *words: object) -> None:
        self.digest.update(repr(words).encode("utf-8", "backslashreplace"))

    def add(self, thing: Any, depth: int) -> None:
        if isinstance(thing, _PLAIN):
            self.say(thing)
        elif depth > _DEEPEST or id(thing) in self.seen:
            self.say("again")
        else:
            self.seen[id(thing)] = thing  # kept, so that no other takes its place in memory
            for part in self._parts(thing):
                self.add(part, depth + 1)

    def _parts(self, thing: Any) -> Iterator[Any]:
        """What ``thing`` is made of; what can be said at once is said."""
        if isinstance(thing, functools.partial):
            yield from (thing.func, thing.args, dict(thing.keywords))
        elif isinstance(thing, types.MethodType):
            yield from (thing.__func__, thing.__self__)
        elif isinstance(thing, staticmethod | classmethod):
            yield thing.__func__
        elif isinstance(thing, property):
            yield from (thing.fget, thing.fset)
        elif isinstance(thing, types.FunctionType):
            yield from self._function(thing)
        elif isinstance(thing, types.CodeType):
            self.say(thing.co_code, thing.co_names, thing.co_varnames)
            yield from thing.co_consts
        elif isinstance(thing, type):
            yield from self._class(thing)
        elif isinstance(thing, types.ModuleType):
            if _own(thing.__name__):
                self.say(
                    read_bytes(Path(str(thing.__file__)), links=True)
                    if getattr(thing, "__file__", None)
                    else ""
                )
        elif isinstance(thing, Mapping):
            yield from (part for key, value in list(thing.items()) for part in (str(key), value))
        elif isinstance(thing, set | frozenset):
            self.say(sorted(map(repr, thing)))
        elif isinstance(thing, list | tuple):
            yield from thing
        elif isinstance(thing, Tensor):
            self.say(tuple(thing.shape), str(thing.dtype), _values(thing))
        elif isinstance(thing, np.ndarray):
            self.say(thing.shape, str(thing.dtype), thing.tobytes())
        elif isinstance(thing, nn.Module):
            yield from sorted({type(part) for part in thing.modules()}, key=_name)
        else:
            yield from self._object(thing)

    def _function(self, function: types.FunctionType) -> Iterator[Any]:
        self.say(function.__qualname__)
        if not _own(function.__module__):
            return
        self.any = True
        yield from (function.__code__, function.__defaults__, function.__kwdefaults__)
        for cell in function.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not filled yet
                continue
        for name in sorted(_names(function.__code__)):
            if name in function.__globals__:
                yield function.__globals__[name]

    def _class(self, cls: type) -> Iterator[Any]:
        self.say(cls.__qualname__)
        for base in cls.__mro__:
            if _own(base.__module__):
                self.any = True
                for name, value in sorted(vars(base).items()):
                    if not name.startswith("__") or isinstance(value, types.FunctionType):
                        yield from (name, value)

    def _object(self, thing: Any) -> Iterator[Any]:
        yield type(thing)
        if dataclasses.is_dataclass(thing):
            for field in _settings(thing):
                yield from (field.name, getattr(thing, field.name, None))
        elif _own(type(thing).__module__):
            yield dict(sorted(getattr(thing, "__dict__", {}).items()))


def _settings(thing: Any) -> list[dataclasses.Field[Any]]:
    """The fields of a dataclass, but for what a class of the user's own fills while it works."""
    memory = list | dict | set if _own(type(thing).__module__) else ()
    return [
        field
        for field in dataclasses.fields(thing)
        if hasattr(thing, field.name)
        and not (
            field.default_factory is not dataclasses.MISSING
            and isinstance(getattr(thing, field.name), memory)
        )
    ]


def _values(tensor: Tensor) -> object:
    plain = tensor.layout is torch.strided and not tensor.is_quantized and tensor.device.type != "meta"
    return bytes_of(tensor) if plain else str(tensor)


def _names(code: types.CodeType) -> set[str]:
    """The globals that it may look up, in functions within it too."""
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _own(module: str | None) -> bool:
    """Whether a module is the user's own: neither this package's, nor Python's, nor an installed one's."""
    root = str(module or "").partition(".")[0]
    if root in sys.stdlib_module_names and root != "__main__":
        return False
    if root in ("torch", "numpy", "semirobust"):
        return False
    file = getattr(sys.modules.get(str(module)), "__file__", None)
    return file is None or not str(Path(file).resolve()).startswith(_OTHERS)
