"""The reference, drawn from the code: public names by subject, the program's commands, and what a record says."""

import ast
import dataclasses
import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import semirobust
from semirobust.cli.app import COMMANDS, app
from semirobust.core.docstrings import meanings
from semirobust.records.about import About
from semirobust.records.quantity import Quantity, Topic

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
SUBJECTS = {
    "attacks": ("Attacks and threat models", ("attacks", "threats")),
    "evaluation": ("Evaluation", ("evaluation",)),
    "layers": ("Layers", ("layers",)),
    "measures": ("Measures by layer", ("measures",)),
    "dependence": ("Dependence", ("dependence",)),
    "training": (
        "Training, hardening and pruning",
        ("training", "objectives", "methods", "procedures", "pruning"),
    ),
    "models": ("Models and checkpoints", ("models", "zoo")),
    "data": ("Data", ("data",)),
}
"""Page: its title, and the rooms whose public names it has. What stands in no room here is on the page ``more``."""
_ALL = {**SUBJECTS, "more": ("Runs, cost, seeds and errors", ())}


def homes(room: str = "") -> dict[str, str]:
    """Public name: the module that it comes from, as the stub of the package or of one of its rooms says."""
    stub = ROOT / "src" / "semirobust" / room / "__init__.pyi"
    base = ".".join(filter(None, ("semirobust", room)))
    return {
        alias.asname: f"{base}.{node.module}"
        for node in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }


def page_of(module: str) -> str:
    """The page that has the names of a module."""
    room = module.split(".")[1]
    return next((page for page, (_, rooms) in SUBJECTS.items() if room in rooms), "more")


def _classes(hint: Any) -> Iterator[type]:
    """The classes of this package that an annotation names."""
    if isinstance(hint, type) and not typing.get_args(hint) and hint.__module__.startswith("semirobust."):
        yield hint
    for part in typing.get_args(hint):
        yield from _classes(part)


def returned(value: Any) -> list[type]:
    """The classes of this package that a function, or calling an object of a class, gives."""
    called = value.__call__ if isinstance(value, type) else value
    if isinstance(called, types.MethodWrapperType | types.WrapperDescriptorType):
        return []
    late = {"Fabric": Any, "Logger": Any}  # imported when it is used
    return list(_classes(typing.get_type_hints(called, localns=late).get("return")))


def _own(cls: type) -> list[str]:
    """What a user calls or reads of an object: the call alone, where there is one."""
    if "__call__" in {name for base in cls.__mro__[:-1] for name in vars(base)}:
        return ["__call__"]
    return [
        name
        for base in cls.__mro__
        if base.__module__.startswith("semirobust.")
        for name, member in vars(base).items()
        if not name.startswith("_") and (callable(member) or isinstance(member, property | classmethod))
    ]


def _entry(path: str, value: Any, level: int) -> str:
    options = [f"      heading_level: {level}"]
    if isinstance(value, type) and not issubclass(value, Exception):
        options += ["      inherited_members: true", f"      members: {sorted(set(_own(value)))}"]
    elif not inspect.isroutine(value):
        options.append("      members: false")
    return f"::: {path}\n    options:\n" + "\n".join(options) + "\n"


def first_line(value: Any) -> str:
    """What a thing is, in the first sentence of its docstring."""
    text = inspect.getdoc(value) or ""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text.split("\n\n")[0].replace("\n", " "))
    return text.replace("``", "`").replace("|", "\\|").replace("[", "\\[")


def render_names() -> dict[str, str]:
    """Each page of public names as it should be."""
    parts: dict[str, list[str]] = {page: [] for page in _ALL}
    rows: dict[str, list[str]] = {page: [] for page in _ALL}
    results: dict[str, dict[str, type]] = {page: {} for page in _ALL}
    found = homes()
    known = {f"{module}.{name}" for name, module in found.items()}
    for name, module in sorted(found.items(), key=lambda item: item[0].lower()):
        value, page = getattr(semirobust, name), page_of(module)
        anchor = f"{module}.{name}"
        rows[page].append(f"| [`sr.{name}`](#{anchor}) | {first_line(value)} |")
        parts[page].append(_entry(anchor, value, 3))
        for cls in returned(value):
            path = f"{cls.__module__}.{cls.__name__}"
            if path not in known and not any(path in others for others in results.values()):
                results[page][path] = cls
    pages = {}
    for page, (title, _) in _ALL.items():
        text = f"# {title}\n\nDrawn from the docstrings. Images are (N, C, H, W) with pixels in [0, 1].\n\n"
        text += (
            "| name | what it is |\n|---|---|\n"
            + "\n".join(rows[page])
            + "\n\n## Names\n\n"
            + "\n".join(parts[page])
        )
        if results[page]:
            entries = [_entry(path, cls, 3) for path, cls in sorted(results[page].items())]
            text += "\n## What they return\n\n" + "\n".join(entries)
        pages[page] = re.sub(r" +\|$", " |", text, flags=re.M)
    return pages


def render_rooms() -> str:
    """The page of the names of the rooms that the package itself does not have."""
    parts = [
        "# Names of the rooms\n\nDrawn from the code. For what `semirobust` itself does not offer, such as the parts of"
        " a study.\n"
    ]
    public = set(homes().items())
    for stub in sorted((ROOT / "src/semirobust").glob("*/__init__.pyi")):
        room = stub.parent.name
        rows = []
        for name, module in sorted(homes(room).items(), key=lambda item: item[0].lower()):
            value = getattr(importlib.import_module(module), name)
            if (name, module) not in public:
                said = (
                    first_line(value)
                    if isinstance(value, type) or inspect.isroutine(value)
                    else "a type for annotations"
                )
                rows.append(f"| `{name}` | {said} |")
        parts.append(f"## semirobust.{room}\n\n| name | what it is |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _flag(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    values = option.make_metavar(click.Context(app)).replace("|", "\\|")
    return names if option.is_flag else f"{names} `{values}`"


def _help(option: click.Option) -> tuple[str, str]:
    """What a flag means, and its default where the text says it."""
    text, _, default = (option.help or "").partition("[default:")
    default = default.strip().removesuffix("]")
    return text.strip().replace("|", "\\|"), f"`{default}`" if default else _default(option)


def _default(option: click.Option) -> str:
    value = option.default
    if option.required:
        return "required"
    if value is None or value is False or value == () or callable(value) or str(value).startswith("Sentinel"):
        return ""
    return f"`{value}`"


def render_commands() -> str:
    """The page of the program's commands, as it should be."""
    parts = [
        "# Commands\n\nDrawn from the program. `semirobust COMMAND --help` says the same.\n"
        "Wrong input ends in one sentence and exit code 2.\n"
        "The others are 0 where all is done, 1 where training stopped early or part of the work failed,\n"
        "130 after Ctrl-C and 143 after SIGTERM ([all of them](../explanation/promises.md#how-a-run-ends)).\n"
    ]
    for name in COMMANDS:
        command = app.get_command(click.Context(app), name)
        assert command is not None
        context = click.Context(command, info_name=f"semirobust {name}")
        usage = " ".join(command.collect_usage_pieces(context))
        said = inspect.cleandoc(command.help or "").replace("\b\n", "")
        options = [
            option for option in command.params if isinstance(option, click.Option) and not option.hidden
        ]
        rows = [f"| {_flag(option)} | {' | '.join(_help(option))} |" for option in options]
        parts.append(
            f"## {name}\n\n`semirobust {name} {usage}`\n\n{said}\n\n| flag | meaning | default |\n|---|---|---|\n"
            + "\n".join(rows)
            + "\n"
        )
    return re.sub(r" +\|$", " |", "\n".join(parts), flags=re.M)


def render_records() -> str:
    """The page of what a record can say, as it should be."""
    quantities = [f"| `{q.value}` | {q.unit or 'its own'} | {q.meaning} |" for q in Quantity]
    topics = [f"| `{topic.value}` | {text} |" for topic, text in _said_below(Topic)]
    said = meanings(About)
    fields = [
        f"| `{f.name}` | {said[f.name].replace('|', chr(92) + '|')} |" for f in dataclasses.fields(About)
    ]
    return (
        "# Records\n\nDrawn from the code. A record is a line of `records/*.jsonl`"
        " ([run folders and records](runs.md)).\n\n"
        "## Quantities\n\nEvery number has one of these. A unit of 1 is a fraction or a ratio.\n\n"
        "| quantity | unit | meaning |\n|---|---|---|\n" + "\n".join(quantities) + "\n\n"
        "## Findings\n\nEvery sentence has one of these topics.\n\n"
        "| topic | about |\n|---|---|\n" + "\n".join(topics) + "\n\n"
        "## Fields of `about`\n\nWhat a record was measured for. A field is left out where it does not apply.\n\n"
        "| field | meaning |\n|---|---|\n" + "\n".join(fields) + "\n"
    )


def _said_below(cls: type) -> list[tuple[Any, str]]:
    """Each member of an enumeration with the docstring below it."""
    tree = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = []
    for node, after in zip(tree.body, [*tree.body[1:], None]):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            found.append((getattr(cls, node.targets[0].id), str(after.value.value) if documented else ""))
    return found


def drawn() -> dict[Path, str]:
    """Every page of the reference that is drawn here, by where it stands."""
    return {
        **{REFERENCE / "api" / f"{page}.md": text for page, text in render_names().items()},
        REFERENCE / "api" / "rooms.md": render_rooms(),
        REFERENCE / "commands.md": render_commands(),
        REFERENCE / "records.md": render_records(),
    }
