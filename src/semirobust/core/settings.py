"""Settings in plain form and the frozen dataclasses they describe.

A setting is declared once, as a field of a dataclass. Its annotation checks what is given for it, its default
is the field's, and its meaning is the field's entry in the docstring of the class. The plain form is what a
TOML file, a flag or JSON can hold:

- a number, a string, a truth value, a tuple or a table stays as it is (``"8/255"`` is read as a number);
- a field whose annotation is the abstract class of a family holds the name of a member, and ``NAME_options``
  beside it a table of the member's own fields; a tuple of members holds names, and ``NAME_options`` a table
  of such tables; of one certain member there is only ``NAME_options``;
- the fields of any other dataclass stand beside those of the dataclass that holds it, which come first where
  two have the same name.
"""

import dataclasses
import functools
import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Union, get_args, get_origin

from semirobust.core.docstrings import annotations_of, meanings
from semirobust.core.errors import InputError
from semirobust.core.text import first_sentence
from semirobust.core.values import Misfit, as_json, checked, shortly, words

__all__ = ["FAMILIES", "Family", "Setting", "build", "plain", "setting", "settings_of"]

_NOTHING: Mapping[str, Any] = types.MappingProxyType({})
_META = "semirobust.setting"


class Family(Protocol):
    """What this module asks of a registry."""

    family: str

    def names(self) -> tuple[str, ...]:
        """All names."""

    def name_of(self, member: object) -> str:
        """The name of a class or of what was made of it."""

    def find(self, name: str) -> tuple[Any, dict[str, int | str]]:
        """The class and what its name says of its fields."""

    def make(self, name: str, options: Mapping[str, Any] | None = None, **given: Any) -> Any:
        """The member with these options."""

    def options_of(self, name: str) -> "tuple[Setting, ...]":
        """The options of a member."""


FAMILIES: dict[type, Family] = {}
"""Abstract class -> the registry of its family."""


@dataclass(frozen=True)
class _Declared:
    """What a field says of itself as a setting, beyond annotation, default and docstring."""

    recipe: bool = True
    name: str = ""
    options: str = ""
    flag: str = ""
    without: tuple[str, ...] = ()
    names: Family | None = None


def setting(
    *,
    recipe: bool = True,
    name: str = "",
    options: str = "",
    flag: str = "",
    without: Sequence[str] = (),
    names: Family | None = None,
) -> Mapping[str, Any]:
    """What a dataclass field says of itself as a setting: ``field(default=..., metadata=setting(...))``.

    Args:
        recipe: False for what no recipe can hold, such as a module.
        name: the member of a family that a recipe takes by default, where the field has another default;
            several with commas.
        options: the key of a member's options, where it is not ``NAME_options``.
        flag: its name on the command line, where that is not ``--NAME``.
        without: for a dataclass inside another: its settings that are left out.
        names: for a string: the family whose members it may name.
    """
    return {_META: _Declared(recipe, name, options, flag, tuple(without), names)}


@dataclass(frozen=True)
class Setting:
    """One setting in plain form.

    Attributes:
        name: its key.
        hint: the annotation that a value must fit.
        default: in plain form; ``dataclasses.MISSING`` where one must be given.
        meaning: its entry in the docstring.
        flag: its name on the command line, where that is not ``--NAME``.
        family: the family whose members it names, or whose members' options it holds.
        options_of: the setting whose options it holds; empty for all others.
        member: the one member whose options it holds, where that is certain.
    """

    name: str
    hint: Any
    default: Any
    meaning: str
    flag: str
    family: Family | None = None
    options_of: str = ""
    member: str = ""

    @property
    def brief(self) -> str:
        """The first sentence of its meaning."""
        return first_sentence(self.meaning)

    @property
    def kind(self) -> str:
        """Its type in words."""
        if self.family is not None and not self.options_of:
            many = get_origin(self.hint) is tuple
            return f"list of {self.family.family}s" if many else self.family.family
        return words(self.hint)


@functools.cache  # a study reads a recipe for each of some hundred runs
def settings_of(cls: type) -> tuple[Setting, ...]:
    """The settings of a dataclass in the order of its fields, those of dataclasses inside it among them."""
    return tuple(_settings(cls, None, frozenset()))


def _settings(cls: type, start: Any, without: frozenset[str]) -> list[Setting]:
    """Those settings, with the defaults of the instance ``start`` where there is one, and less some."""
    settings: list[Setting] = []
    texts, hidden = meanings(cls), without | _own_names(cls)
    for field in _fields(cls):
        default = _default(field) if start is None else getattr(start, field.name)
        if field.inside:
            inner = None if default is dataclasses.MISSING else default
            settings += _settings(field.hint, inner, hidden | frozenset(field.declared.without))
        elif field.name not in without:
            settings += field.settings(default, texts.get(field.name, ""))
    return settings


def plain(cls: type, tree: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a dataclass in plain form: what ``tree`` gives, checked, and the defaults of the rest.

    Raises:
        Misfit: an unknown key, or a value of the wrong type.
    """
    known = {s.name: s for s in settings_of(cls)}
    _check_known(tree, list(known))
    return {
        name: as_json(checked(name, s.hint, tree[name]) if name in tree else s.default)
        for name, s in known.items()
    }


def build(cls: type, tree: Mapping[str, Any], given: Mapping[str, Any] = _NOTHING) -> Any:
    """The dataclass that settings in plain form describe.

    Args:
        cls: the dataclass.
        tree: values by key; what is not there keeps its default.
        given: objects for fields of these names, here and in members of families, that no recipe can hold.

    Raises:
        Misfit: an unknown key, or a value that does not fit.
        InputError: the dataclass refuses the values.
    """
    _check_known(tree, [s.name for s in settings_of(cls) if s.name not in given])
    return _built(cls, tree, given, None, frozenset())


def _built(
    cls: type, tree: Mapping[str, Any], given: Mapping[str, Any], start: Any, without: frozenset[str]
) -> Any:
    values: dict[str, Any] = {}
    hidden = without | _own_names(cls)
    for field in _fields(cls, recipe=False):
        default = _default(field) if start is None else getattr(start, field.name)
        if field.name in given:
            values[field.name] = given[field.name]
        elif field.inside:
            inner = None if default is dataclasses.MISSING else default
            left_out = hidden | frozenset(field.declared.without)
            values[field.name] = _built(field.hint, tree, given, inner, left_out)
        elif not field.declared.recipe or field.name in without:
            if default is not dataclasses.MISSING:
                values[field.name] = default
        else:
            value = field.value(tree, given, default)
            if value is not dataclasses.MISSING:
                values[field.name] = value
            elif _default(field) is dataclasses.MISSING and field.declared.recipe:
                raise Misfit(field.name, "expected a value, which it has none of by itself")
    return cls(**values)


@dataclass(frozen=True, eq=False)
class _Field:
    """A field of a dataclass with its annotation resolved; what follows from that is found once."""

    name: str
    hint: Any
    declared: _Declared
    raw: "dataclasses.Field[Any]"

    @cached_property
    def family(self) -> Family | None:
        return FAMILIES.get(self.member_type) if isinstance(self.member_type, type) else None

    @cached_property
    def member_type(self) -> Any:
        """The class in ``X``, ``X | None`` or ``tuple[X, ...]``."""
        hint = self.hint
        if self.many:
            return get_args(hint)[0]
        parts = [part for part in get_args(hint) if part is not type(None)]
        return parts[0] if get_origin(hint) in (Union, types.UnionType) and len(parts) == 1 else hint

    @cached_property
    def many(self) -> bool:
        return get_origin(self.hint) is tuple and get_args(self.hint)[1:] == (Ellipsis,)

    @cached_property
    def certain(self) -> Family | None:
        """The family of a field that holds one certain member."""
        if not isinstance(self.hint, type) or self.hint in FAMILIES or inspect.isabstract(self.hint):
            return None
        return next((family for cls, family in FAMILIES.items() if issubclass(self.hint, cls)), None)

    @cached_property
    def inside(self) -> bool:
        """Whether its settings stand beside those of the dataclass that holds it."""
        dataclass_type = isinstance(self.hint, type) and dataclasses.is_dataclass(self.hint)
        return dataclass_type and self.declared.recipe and self.family is None and self.certain is None

    @cached_property
    def options(self) -> str:
        return self.declared.options or f"{self.name}_options"

    def settings(self, default: Any, meaning: str) -> list[Setting]:
        flag, more = self.declared.flag, ""
        if self.certain is not None:
            member = self.certain.name_of(self.hint)
            return [Setting(self.options, dict[str, Any], {}, meaning, more, self.certain, self.name, member)]
        if self.family is None:
            return [Setting(self.name, self.hint, as_json(default), meaning, flag, self.declared.names)]
        hint: Any = tuple[str, ...] if self.many else str
        if type(None) in get_args(self.hint):
            hint = str | None
        options: Any = dict[str, dict[str, Any]] if self.many else dict[str, Any]
        each = " by name" if self.many else ""
        return [
            Setting(self.name, hint, self._default_name(default), meaning, flag, self.family),
            Setting(
                self.options, options, {}, f"Options of {self.name}{each}.", more, self.family, self.name
            ),
        ]

    def _default_name(self, default: Any) -> Any:
        """The default in plain form: of one member or of several."""
        assert self.family is not None
        declared = self.declared.name
        if self.many and declared:
            return declared.split(",")
        if declared or default is dataclasses.MISSING:
            return declared or default
        if self.many:
            return [self.family.name_of(each) for each in default]
        return "" if default is None else self.family.name_of(default)

    def value(self, tree: Mapping[str, Any], given: Mapping[str, Any], default: Any) -> Any:
        """What the settings in plain form give for this field."""
        if self.certain is not None:
            options = checked(self.options, dict[str, Any], tree.get(self.options, {}))
            if isinstance(own := tree.get(self.name), self.hint):
                return own
            if not options and default is not dataclasses.MISSING:
                return default
            return self._made(self.certain, self.certain.name_of(self.hint), options, given)
        if self.family is None:
            return checked(self.name, self.hint, tree[self.name]) if self.name in tree else default
        if isinstance(own := tree.get(self.name), self.member_type):
            return own  # an object in place of its name
        return self._members(self.family, tree, given, default)

    def _members(
        self, family: Family, tree: Mapping[str, Any], given: Mapping[str, Any], default: Any
    ) -> Any:
        named = self._default_name(default)
        if self.name not in tree and self.options not in tree and not self.declared.name:
            return default
        if self.many:
            names = checked(self.name, tuple[str, ...], tree.get(self.name, named))
            each = checked(self.options, dict[str, dict[str, Any]], tree.get(self.options, {}))
            if unknown := sorted(each.keys() - set(names)):
                raise Misfit(self.options, f"{unknown[0]!r} is not among {', '.join(names) or 'none'}")
            return tuple(self._made(family, name, each.get(name, {}), given) for name in names)
        name = checked(self.name, str | None, tree.get(self.name, named))
        options = checked(self.options, dict[str, Any], tree.get(self.options, {}))
        if not name and type(None) in get_args(self.hint):
            if options:
                raise Misfit(self.options, f"expected none without {self.name}, got {shortly(options)}")
            return None
        return self._made(family, name or "", options, given)

    def _made(self, family: Family, name: str, options: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        try:
            return family.make(name, options, **given)
        except InputError as error:
            raise Misfit(self.name, str(error)) from None


@functools.cache
def _all_fields(cls: type) -> tuple[_Field, ...]:
    hints = annotations_of(cls)
    return tuple(
        _Field(f.name, hints[f.name], f.metadata.get(_META, _Declared()), f)
        for f in dataclasses.fields(cls)
        if f.init
    )


def _fields(cls: type, *, recipe: bool = True) -> list[_Field]:
    """The fields that can be given; with ``recipe`` those that a recipe can hold."""
    return [field for field in _all_fields(cls) if field.declared.recipe or not recipe]


@functools.cache
def _own_names(cls: type) -> frozenset[str]:
    """The settings of a dataclass that are not those of a dataclass inside it."""
    return frozenset(
        name
        for field in _fields(cls)
        if not field.inside
        for name in (field.name, *([field.options] if field.family or field.certain else []))
    )


def _default(field: _Field) -> Any:
    if field.raw.default_factory is not dataclasses.MISSING:
        return field.raw.default_factory()
    return field.raw.default


def _check_known(tree: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in tree:
        if key not in known:
            raise Misfit(key, known=known)
