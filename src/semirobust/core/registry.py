"""Names for the members of one family, collected from the family's folder."""

import dataclasses
import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from semirobust.core.errors import InputError
from semirobust.core.one_at_a_time import one_at_a_time
from semirobust.core.settings import FAMILIES, Setting, build, settings_of
from semirobust.core.values import Misfit, checked

__all__ = ["Registry"]

T = TypeVar("T")
Member = TypeVar("Member", bound=Callable[..., Any])

_DIGITS = 9  # of a number in a name


class Registry(Generic[T]):
    """Maps names to the classes or builders that the files of one package register.

    Adding a member is adding a file: the first look-up imports every module of ``package``.

    Args:
        family: what a member is called in messages, for example ``"attack"``.
        package: the package whose modules register members.
        abstract: the abstract class of the family, so that a field annotated with it can be set by name.
    """

    def __init__(self, family: str, package: str, abstract: type[T] | None = None) -> None:
        self.family = family
        self.package = package
        if abstract is not None:
            FAMILIES[abstract] = self
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

    def member(self, name: str) -> Callable[..., T]:
        """The member that is displayed under ``name``, one of :meth:`names`."""
        self._load()
        return self._members[name]

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
                found = {k: v for k, v in match.groupdict().items() if v is not None}
                if any(len(v) > _DIGITS for v in found.values()):
                    raise InputError(
                        f"{self.family}: expected numbers of at most {_DIGITS} digits, got {name!r}"
                    )
                return self._members[key], {k: int(v) for k, v in found.items()}
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
        try:
            if isinstance(member, type) and dataclasses.is_dataclass(member):
                return build(member, options or {}, given | numbers)
            taken = inspect.signature(member).parameters
            given = {key: value for key, value in given.items() if key in taken} | numbers
            return member(**given, **_options(member, options or {}, given))
        except Misfit as error:
            if error.text:
                raise InputError(f"{self.family} {name!r}, option {error.key!r}: {error.text}") from None
            names = ", ".join(sorted(set(error.known))) or "none"
            raise InputError(
                f"{self.family} {name!r}: unknown option {error.key!r}; it has {names}"
            ) from None

    def options_of(self, name: str) -> tuple[Setting, ...]:
        """The options that :meth:`make` takes for a member, which may be none of a dataclass."""
        member = self._members[name] if name in self.names() else self.find(name)[0]
        pattern = self._patterns.get(name)
        said = set(pattern.groupindex) if pattern is not None else set[str]()
        if not (isinstance(member, type) and dataclasses.is_dataclass(member)):
            return ()
        return tuple(option for option in settings_of(member) if option.name not in said)

    def _load(self) -> None:
        if self._loaded:
            return
        with one_at_a_time():
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            self._loaded = True  # only now, since other threads may look members up meanwhile


def _options(
    builder: Callable[..., Any], options: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The options of a function, each checked against its annotation."""
    hints, names = typing.get_type_hints(builder), inspect.signature(builder).parameters
    known = [name for name in names if name not in given]
    for key in options:
        if key not in known:
            raise Misfit(key, known=known)
    return {key: checked(key, hints.get(key, Any), value) for key, value in options.items()}
