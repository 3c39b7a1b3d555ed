"""The table of names that the command line reads before PyTorch is imported, drawn from the code."""

import dataclasses
import importlib
import inspect
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click

from semirobust.cli.app import COMMANDS
from semirobust.cli.flags import FixedFlag, SettingFlag
from semirobust.cli.known import ANYTHING, ROOT, declaring
from semirobust.core.registry import Registry
from semirobust.core.settings import Setting, settings_of
from semirobust.experiments.families import FAMILIES
from semirobust.experiments.recipe import SECTIONS

_SIMPLE = {int: "int", float: "float", str: "str", bool: "bool", type(None): "none", Any: ANYTHING}
_MANY = {dict: "dict", Mapping: "dict", Sequence: "sequence", list: "sequence"}


def plain_hint(hint: Any) -> Any:
    """An annotation in plain form; what is not checked before PyTorch is there becomes ``any``."""
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ["literal", *args]
    if origin in (Union, types.UnionType):
        return ["union", *map(plain_hint, args)]
    if origin is tuple and args[1:] == (Ellipsis,):
        return ["tuple", plain_hint(args[0])]
    kind = next(
        (name for cls, name in _MANY.items() if isinstance(origin, type) and origin.__name__ == cls.__name__),
        "",
    )
    return [kind, plain_hint(args[-1])] if kind else ANYTHING


def _plain(setting: Setting, holders: set[str], *, inside: bool) -> Any:
    """A setting; ``holders`` are those whose members' options another setting holds."""
    hint = plain_hint(setting.hint)
    if setting.family is None or not (setting.options_of or setting.name in holders):
        return hint
    if inside:  # members within members are left to the code
        return ANYTHING
    plain = {"hint": hint, "family": setting.family.family}
    if setting.options_of:
        return (
            plain
            | {"options_of": setting.options_of}
            | ({"member": setting.member} if setting.member else {})
        )
    return plain | {"default": setting.default}


def _settings(cls: type, *, inside: bool = False) -> dict[str, Any]:
    settings = settings_of(cls)
    holders = {setting.options_of for setting in settings}
    return {setting.name: _plain(setting, holders, inside=inside) for setting in settings}


def _member(registry: Registry, name: str) -> dict[str, Any]:
    member = registry.member(name)
    known = isinstance(member, type) and dataclasses.is_dataclass(member)
    pattern = registry.pattern_of(name)
    return {"options": _settings(member, inside=True) if known else None} | (
        {"pattern": pattern} if pattern else {}
    )


def _flags(command: click.Command) -> dict[str, Any]:
    found = {}
    for parameter in command.params:
        plain: dict[str, Any] = {}
        if isinstance(parameter, click.Option):
            second = parameter.secondary_opts
            plain["flags"] = [f"{parameter.opts[0]}/{second[0]}"] if second else parameter.opts
            plain |= {"switch": True} if parameter.is_flag else {}
            plain |= {"many": True} if parameter.multiple else {}
        if isinstance(parameter, SettingFlag) and not isinstance(parameter, FixedFlag):
            plain["path"] = parameter.path
        found[str(parameter.name)] = plain
    return found


def _classes(cls: Any) -> Iterator[Any]:
    """A class, what it inherits from, and the dataclasses whose settings are its own."""
    for base in inspect.getmro(cls) if isinstance(cls, type) else [cls]:
        yield base
        if isinstance(base, type) and dataclasses.is_dataclass(base):
            for hint in typing.get_type_hints(base).values():
                if isinstance(hint, type) and dataclasses.is_dataclass(hint):
                    yield from _classes(hint)


def _files() -> Iterator[Path]:
    """The files that declare something of the table."""
    for registry in (registry for _, registry in FAMILIES.values()):
        yield from Path(importlib.import_module(registry.package).__path__[0]).glob("*.py")
        for name in registry.names():
            for each in _classes(registry.member(name)):
                yield (
                    Path(inspect.getsourcefile(each) or "")
                    if each.__module__.startswith("semirobust")
                    else ROOT
                )
    for cls in SECTIONS.values():
        for each in _classes(cls):
            yield (
                Path(inspect.getsourcefile(each) or "") if each.__module__.startswith("semirobust") else ROOT
            )
    yield from (ROOT / "cli" / "commands").glob("*.py")
    yield from (ROOT / "cli" / name for name in ("flags.py", "section_flags.py"))


def render_known() -> str:
    """The table as it should be, an entry a line."""
    registries = [registry for _, registry in FAMILIES.values()]
    files = sorted({path.relative_to(ROOT).as_posix() for path in _files() if path.suffix == ".py"})
    packages = sorted({r.package.removeprefix("semirobust.").replace(".", "/") for r in registries})
    commands = {name: importlib.import_module(f"semirobust.cli.commands.{name}").command for name in COMMANDS}
    table = {
        "commands": {name: _flags(command) for name, command in commands.items()},
        "sections": {name: _settings(cls) for name, cls in SECTIONS.items()},
        "families": {r.family: {name: _member(r, name) for name in r.names()} for r in registries},
        "groups": {r.family: r.group for r in registries},
        "folders": packages,
        "declared": {name: declaring(ROOT / name) for name in files},
    }
    return _written(table, 0) + "\n"


def _written(value: Any, depth: int) -> str:
    """JSON with tables below one another for three levels, so that a change is a change of a line."""
    if not isinstance(value, dict) or depth == 3 or not value:
        return json.dumps(value)
    space = " " * (depth + 1)
    rows = ",\n".join(f"{space}{json.dumps(key)}: {_written(each, depth + 1)}" for key, each in value.items())
    return "{\n" + rows + "\n" + " " * depth + "}"
