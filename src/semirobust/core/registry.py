"""Names for the members of one family, collected from the family's folder."""

import dataclasses
import importlib
import inspect
import logging
import pkgutil
import re
import typing
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any, Generic, TypeVar

from semirobust.core.errors import InputError
from semirobust.core.one_at_a_time import one_at_a_time
from semirobust.core.plugins import entry_points, is_reference, load_named, object_at
from semirobust.core.refusals import unknown_member, unknown_option
from semirobust.core.settings import FAMILIES, Setting, build, settings_of
from semirobust.core.text import first_line
from semirobust.core.values import Misfit, checked

__all__ = ["Registry"]

T = TypeVar("T")
Member = TypeVar("Member", bound=Callable[..., Any])

_DIGITS = 9  # of a number in a name
_LOG = logging.getLogger("semirobust.registry")


class Registry(Generic[T]):
    """Maps names to the classes or builders that the files of one package register.

    Adding a member is adding a file: the first look-up imports every module of ``package``. Members of other
    packages come by the entry points of the group ``semirobust.GROUP``, by modules that the user names, and
    as ``package.module:Class`` (:mod:`semirobust.core.plugins`); an entry point is imported when its name is
    looked up.

    Args:
        family: what a member is called in messages, for example ``"attack"``.
        package: the package whose modules register members.
        abstract: the abstract class of the family, so that a field annotated with it can be set by name.
        group: the family on the command line and in entry points, for example ``"attacks"``.
        on_add: told of each member that registers.
    """

    def __init__(
        self,
        family: str,
        package: str,
        abstract: type[T] | None = None,
        *,
        group: str = "",
        on_add: Callable[[Any], None] | None = None,
    ) -> None:
        self.family, self.package, self.abstract = family, package, abstract
        self.group, self._on_add = group or package.rpartition(".")[2], on_add
        if abstract is not None:
            FAMILIES[abstract] = self
        self._members: dict[str, Callable[..., T]] = {}
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._points: dict[str, EntryPoint] = {}
        self._taken: dict[str, EntryPoint] = {}
        self._references: dict[str, Callable[..., T]] = {}
        self._left_out: dict[str, EntryPoint] = {}
        self._loaded = False

    def register(self, name: str, *, pattern: str | None = None) -> Callable[[Member], Member]:
        """Decorator. With ``pattern`` the name stands for many; named groups become keyword arguments,
        integers where they are digits.
        """

        def add(member: Member) -> Member:
            if not member.__module__.startswith(self.package):
                self._load()  # so that it is the newcomer whose name is refused
            before = self._members.get(name, member)
            foreign = not member.__module__.startswith(self.package)
            if foreign and name not in self._members and self._by_pattern(name, ours=True):
                raise InputError(f"{self.family} {name!r}: this name means a member of this library already")
            if before is not member and not (foreign and _same_place(before, member)):
                raise InputError(f"two members of the family {self.family!r} are called {name!r}")
            self._members[name] = member
            if self._on_add is not None and isinstance(member, type):
                self._on_add(member)
            if pattern is not None:
                self._patterns[name] = re.compile(pattern)
            return member

        return add

    def alone(self, name: str, member: Callable[..., T]) -> "Registry[T]":
        """A registry of this family that holds ``member`` and nothing else.

        Raises:
            InputError: it is no member of this family.
        """
        other: Registry[T] = Registry(self.family, self.package, group=self.group)
        other._members[name], other._loaded = self._fitting(member, name), True
        return other

    def names(self) -> tuple[str, ...]:
        """All names, sorted; a pattern appears under its display name."""
        self._load()
        return tuple(sorted({*self._members, *self._points}))

    def member(self, name: str) -> Callable[..., T]:
        """The member that is displayed under ``name``, one of :meth:`names`.

        Raises:
            InputError: it is in another package, and cannot be imported.
        """
        self._load()
        if name in self._points:
            self._take(self._points[name])
        return self._members[name]

    def origin(self, name: str) -> str:
        """The package that brings ``name``, with its version; empty for those of this library."""
        self._load()
        if (point := self._points.get(name) or self._taken.get(name)) is not None:
            return f"{point.dist.name} {point.dist.version}" if point.dist else "another package"
        root = str(getattr(self._members[name], "__module__", "")).partition(".")[0]
        return "" if root == __name__.partition(".")[0] else root

    def pattern_of(self, name: str) -> str:
        """The regular expression of the names that the member displayed as ``name`` has; empty for one."""
        self._load()
        return self._patterns[name].pattern if name in self._patterns else ""

    def left_out(self, name: str) -> str:
        """What another package brings under the name of a member of this library; empty where none does."""
        self._load()
        return self._left_out[name].value if name in self._left_out else ""

    def name_of(self, member: object) -> str:
        """The name under which the class of ``member`` was registered, or by which it was referred to."""
        self._load()
        for name, candidate in [*self._members.items(), *self._references.items()]:
            if candidate is type(member) or candidate is member:
                return name
        raise InputError(f"{self.family}: {type(member).__name__} is not registered")

    def find(self, name: str) -> tuple[Callable[..., T], dict[str, int | str]]:
        """The member called ``name`` and the numbers and words its pattern read from the name."""
        self._load()
        if name in self._points or (name in self._members and name not in self._patterns):
            return self.member(name), {}
        if found := self._by_pattern(name):
            return found
        if is_reference(name):
            return self._refer(name), {}
        for point in self._points.values():  # one may bring a pattern
            with_pattern = self._imported(point)
            if with_pattern is not None and (found := self._by_pattern(name)):
                return found
        raise InputError(unknown_member(self.family, name, self.names()))

    def _by_pattern(
        self, name: str, *, ours: bool = False
    ) -> tuple[Callable[..., T], dict[str, int | str]] | None:
        for key, pattern in self._patterns.items():
            if ours and not self._members[key].__module__.startswith(self.package):
                continue
            match = pattern.fullmatch(name)
            if match:
                found = {k: v for k, v in match.groupdict().items() if v is not None}
                if any(v.isdecimal() and len(v) > _DIGITS for v in found.values()):
                    raise InputError(
                        f"{self.family}: expected numbers of at most {_DIGITS} digits, got {name!r}"
                    )
                return self._members[key], {k: int(v) if v.isdecimal() else v for k, v in found.items()}
        return None

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
            raise InputError(unknown_option(self.family, name, error.key, error.known)) from None

    def options_of(self, name: str) -> tuple[Setting, ...]:
        """The options that :meth:`make` takes for a member, which may be none of a dataclass."""
        member = self.member(name) if name in self.names() else self.find(name)[0]
        pattern = self._patterns.get(name)
        said = set(pattern.groupindex) if pattern is not None else set[str]()
        if not (isinstance(member, type) and dataclasses.is_dataclass(member)):
            return ()
        # Numbers stand in the name; a word, such as a preset, may also be given beside it.
        return tuple(each for each in settings_of(member) if each.name not in said or each.hint is not int)

    def _load(self) -> None:
        if self._loaded:
            return
        with one_at_a_time():
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            for name, point in entry_points().get(f"semirobust.{self.group}", {}).items():
                # Nobody's package may change what a name means.
                if name in self._members or self._by_pattern(name):
                    self._left_out[name] = point
                else:
                    self._points[name] = point
            load_named()
            self._loaded = True  # only now, since other threads may look members up meanwhile

    def _take(self, point: EntryPoint) -> None:
        """Import what an entry point names, and register it."""
        with one_at_a_time():
            try:
                found = point.load()
            except (Exception, SystemExit) as error:  # another package can fail in any way
                reason = first_line(error, with_type=True)
                raise InputError(
                    f"{self.family} {point.name}: the package {self.origin(point.name)} brings it as"
                    f" {point.value}, which cannot be imported ({reason})"
                ) from error
            if not isinstance(found, ModuleType):
                self.register(point.name)(self._fitting(found, point.value))
            elif point.name not in self._members:
                raise InputError(
                    f"{self.family}: expected {point.value} to register {point.name!r}, but it does not"
                )
            self._taken[point.name] = self._points.pop(point.name)

    def _imported(self, point: EntryPoint) -> EntryPoint | None:
        """The entry point, imported unless that fails: a broken package must not stop the search."""
        try:
            return point if isinstance(point.load(), ModuleType) else None
        except (Exception, SystemExit) as error:  # another package can fail in any way
            _LOG.warning("%s %r of another package is left out: %s", self.family, point.name, error)
            return None

    def _refer(self, reference: str) -> Callable[..., T]:
        """The member that ``package.module:Class`` names."""
        if reference not in self._references:
            found = self._fitting(object_at(reference, self.family), reference)
            self._references[reference] = found
        return self._references[reference]

    def _fitting(self, found: Any, where: str) -> Callable[..., T]:
        fits = callable(found) and (
            self.abstract is None or (isinstance(found, type) and issubclass(found, self.abstract))
        )
        if not fits:
            wanted = f"a subclass of {self.abstract.__name__}" if self.abstract else "a function"
            raise InputError(f"{self.family}: expected {wanted} at {where}, got {_kind(found)}")
        member: Callable[..., T] = found
        return member


def _same_place(one: object, other: object) -> bool:
    """Whether they are one definition that ran twice, as a cell of a notebook does."""
    places = [(getattr(each, "__module__", ""), getattr(each, "__qualname__", "")) for each in (one, other)]
    return places[0] == places[1]


def _kind(found: object) -> str:
    return f"the class {found.__name__}" if isinstance(found, type) else type(found).__name__


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
