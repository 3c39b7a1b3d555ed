"""Names for the members of one family, collected from the family's folder."""

import dataclasses
import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from semirobust.core.errors import InputError

__all__ = ["Registry"]

T = TypeVar("T")
Member = TypeVar("Member", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Maps names to the classes or builders that the files of one package register.

    Adding a member is adding a file: the first look-up imports every module of ``package``.

    Args:
        family: what a member is called in messages, for example ``"attack"``.
        package: the package whose modules register members.
    """

    def __init__(self, family: str, package: str) -> None:
        self.family = family
        self.package = package
        self._members: dict[str, Callable[..., T]] = {}
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._loaded = False

    def register(self, name: str, *, pattern: str | None = None) -> Callable[[Member], Member]:
        """Decorator. With ``pattern`` the name stands for many; named groups become integer keyword
        arguments.
        """

        def add(member: Member) -> Member:
            if name in self._members:
                raise RuntimeError(f"two members of the family {self.family!r} are called {name!r}")
            self._members[name] = member
            if pattern is not None:
                self._patterns[name] = re.compile(pattern)
            return member

        return add

    def names(self) -> tuple[str, ...]:
        """All names, sorted; a pattern appears under its display name."""
        self._load()
        return tuple(sorted(self._members))

    def name_of(self, member: object) -> str:
        """The name under which the class of ``member`` was registered."""
        self._load()
        for name, candidate in self._members.items():
            if candidate is type(member) or candidate is member:
                return name
        raise InputError(f"{self.family}: {type(member).__name__} is not registered")

    def find(self, name: str) -> tuple[Callable[..., T], dict[str, int]]:
        """The member called ``name`` and the numbers its pattern read from the name."""
        self._load()
        if name in self._members and name not in self._patterns:
            return self._members[name], {}
        for key, pattern in self._patterns.items():
            match = pattern.fullmatch(name)
            if match:
                return self._members[key], {k: int(v) for k, v in match.groupdict().items() if v is not None}
        raise InputError(f"{self.family}: expected one of {', '.join(self.names())}; got {name!r}")

    def make(self, name: str, options: Mapping[str, Any] | None = None, **given: Any) -> T:
        """Build the member called ``name`` from plain values, each checked against the member's annotation.

        Args:
            name: a registered name.
            options: values from a recipe or the command line; an unknown key or a wrong type raises
                ``InputError``.
            given: values supplied by the caller, passed on unchecked where the member takes them.
        """
        member, numbers = self.find(name)
        hints, inner = _parameters(member), _inner(member)
        nested: dict[str, dict[str, Any]] = {}
        values = {k: v for k, v in given.items() if k in hints} | numbers
        for key, value in (options or {}).items():
            what = f"{self.family} {name!r}, option {key!r}"
            if key in inner and key not in hints:
                field, hint = inner[key]
                nested.setdefault(field, {})[key] = _checked(what, hint, value)
            elif key not in hints or key in given:
                known = ", ".join(sorted(self.options_of(name) - set(given) - set(numbers))) or "none"
                raise InputError(f"{self.family} {name!r}: unknown option {key!r}; it has {known}")
            else:
                values[key] = _checked(what, hints[key], value)
        made = member(**values)
        if not nested:
            return made
        held = {field: dataclasses.replace(getattr(made, field), **new) for field, new in nested.items()}
        return typing.cast(T, dataclasses.replace(typing.cast(Any, made), **held))

    def options_of(self, name: str) -> frozenset[str]:
        """The names of the options of a member; the fields of a dataclass inside it stand for that one."""
        member, _ = self.find(name)
        inner = _inner(member)
        return (frozenset(_parameters(member)) | inner.keys()) - {field for field, _ in inner.values()}

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")


def _parameters(member: Callable[..., Any]) -> dict[str, Any]:
    if dataclasses.is_dataclass(member):
        hints = typing.get_type_hints(member)
        return {f.name: hints[f.name] for f in dataclasses.fields(member) if f.init}
    hints = typing.get_type_hints(member)
    return {name: hints.get(name, Any) for name in inspect.signature(member).parameters}


def _inner(member: Callable[..., Any]) -> dict[str, tuple[str, Any]]:
    """Option -> the field whose dataclass has it, and its annotation."""
    if not dataclasses.is_dataclass(member):
        return {}
    hints = _parameters(member)
    plain = {field: hint for field, hint in hints.items() if dataclasses.is_dataclass(hint)}
    return {
        key: (field, inner)
        for field, cls in plain.items()
        if not inspect.isabstract(cls)
        for key, inner in _parameters(typing.cast("Callable[..., Any]", cls)).items()
        if key not in hints
    }


def _checked(what: str, hint: Any, value: Any) -> Any:
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{what}: {first['msg'].lower()}; got {value!r}") from None
