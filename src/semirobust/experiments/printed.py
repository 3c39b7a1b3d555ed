"""The recipe of a command as TOML, with every setting in it."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semirobust.core.links import given_folder
from semirobust.core.plugins import references_in
from semirobust.core.text import printable, unicode_only
from semirobust.experiments.folder import is_run, read_run
from semirobust.experiments.recipe import Recipe, read_recipe

__all__ = ["as_toml", "printed_settings"]

_SHORT = 6  # entries of a list on one line


def printed_settings(
    command: str,
    words: Sequence[str],
    target: str | None,
    model: str | None,
    recipe_file: Path | None,
    changes: Mapping[str, Any],
) -> str:
    """The TOML of what a command would run with; given back as ``--recipe`` it makes the same run.

    What no recipe may hold, the name of code and what is not a setting, stands in a comment above, in the
    words of the command line.

    Args:
        command: its name.
        words: what else is typed, such as ``--out`` and its folder.
        target: a run folder, or a network.
        model, recipe_file, changes: as everywhere.
    """
    base = None
    if target is not None and Path(target).is_dir():
        folder = given_folder(target)
        base = read_run(folder)[0] if is_run(folder) else None
    named = model or (target if base is None and target is not None and not Path(target).is_dir() else None)
    recipe = read_recipe(recipe_file, {**changes, "model.name": None if base is not None else named}, base)
    plain, said = recipe.plain(), list(words)
    name = str(plain["model"]["name"])
    if ":" in name:  # code, or what is fetched by name: a file may name neither
        del plain["model"]["name"]
        if name not in said:
            said += ["--model", name]
        options = plain["model"].pop("options")
        said += [
            word
            for key, value in options.items()
            for word in ("--set", f"model.options.{key}={json.dumps(value)}")
        ]
    elif named is not None and named in said:
        said.remove(named)
    nothing = [
        f"{section}.{key}"
        for section, entries in plain.items()
        if isinstance(entries, dict)
        for key, value in entries.items()
        if value is None and _default(section, key) is not None
    ]
    said += [word for key in nothing for word in ("--set", f"{key}=null")]
    modules = {reference.partition(":")[0] for reference in references_in(plain)}
    said += [word for module in sorted(modules) for word in ("--plugin", module)]
    line = " ".join(map(shlex.quote, ["semirobust", command, "--recipe", "THIS-FILE", *said]))
    return f"# {printable(line)}\n{as_toml(plain)}"


def _default(section: str, key: str) -> Any:
    return Recipe().plain()[section][key]


def as_toml(tree: Mapping[str, Any]) -> str:
    """Settings in plain form as TOML: values first, then a table for each section. None is left out."""
    lines = [
        f"{_key(key)} = {_value(value)}" for key, value in tree.items() if not isinstance(value, Mapping)
    ]
    for section, entries in tree.items():
        if isinstance(entries, Mapping):
            lines += ["", f"[{_key(section)}]"]
            lines += [f"{_key(key)} = {_value(value)}" for key, value in entries.items() if value is not None]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("-", "_").isidentifier() else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(str(k))} = {_value(v)}" for k, v in value.items() if v is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        parts = list(map(_value, value))
        if len(parts) <= _SHORT:
            return f"[{', '.join(parts)}]"
        return "\n".join(["[", *(f"    {part}," for part in parts), "]"])
    if isinstance(value, str):
        return json.dumps(unicode_only(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
