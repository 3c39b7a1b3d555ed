"""Flags that many commands have, and a command from its function and its flags."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from semirobust.cli.streams import in_reach
from semirobust.core.errors import InputError
from semirobust.core.plugins import allow, references_in
from semirobust.core.settings import Setting
from semirobust.core.values import words

__all__ = [
    "AS_JSON",
    "CHECKPOINT",
    "COMPUTE",
    "LAUNCH",
    "MODEL",
    "ONE_PROCESS",
    "OUT",
    "PATH",
    "RECIPE",
    "RUN_OUT",
    "SEEDS",
    "START",
    "TARGET",
    "FixedFlag",
    "SettingFlag",
    "as_typed",
    "command",
    "entries",
]


class _Named(click.Path):
    """A path; an empty text, as an unset variable of a shell gives, is none, and not the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            name = param.opts[0] if param is not None else "path"
            raise InputError(f"{name}: expected the name of a file or folder, got an empty one")
        return super().convert(value, param, ctx)


PATH = _Named(path_type=Path)
"""A path on the command line."""
_LARGEST = (1 << 31) - 1  # of a flag that counts something

OUT = click.Option(["--out"], type=PATH, required=True, help="Run folder to write.")
RUN_OUT = click.Option(["--out"], type=PATH, help="Run folder for the records; that of the model by default.")
RECIPE = click.Option(
    ["--recipe"], type=PATH, help="TOML file of settings, or a name such as trades; flags override it."
)
MODEL = click.Option(
    ["--model"],
    help="Architecture by name, timm:NAME, torchvision:NAME, hf:OWNER/NAME, robustbench:NAME, or"
    " onnx:FILE, or package.module:factory.",
)
CHECKPOINT = click.Option(["--checkpoint"], type=PATH, help="Weights: safetensors or a PyTorch state dict.")
TARGET = click.Argument(["target"], required=False, metavar="[MODEL]")
START = click.Option(["--from", "target"], help="Run folder to start from; see above for none.")
SEEDS = click.Option(
    ["--seeds"], type=int, default=1, help="Repeat with so many seeds; a verdict needs several."
)
AS_JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, and no progress bars.")
_SET = click.Option(
    ["--set", "set_"], multiple=True, help="Any setting, such as --set train.momentum=0.8. Repeatable."
)
ONE_PROCESS = (
    click.Option(["--device"], default="auto", help="auto, cpu, cuda or mps."),
    click.Option(["--threads"], type=int, help="CPU threads; all cores by default."),
)
COMPUTE = (
    *ONE_PROCESS,
    click.Option(["--devices"], type=int, default=1, help="Number of devices, and so of processes."),
    click.Option(["--nodes"], type=int, default=1, help="Number of machines; by torchrun or SLURM."),
)

LAUNCH = (
    click.Option(
        ["--launcher"],
        help="Do the parts of the command (seeds, arms, trials) by workers: local, slurm or ray. By default"
        " one after the other in this process.",
    ),
    click.Option(["--workers"], type=int, help="How many; one for each part, or core, by default."),
    click.Option(
        ["--launcher-set"], multiple=True, help="Options of the launcher, such as minutes=60. Repeatable."
    ),
)


class SettingFlag(click.Option):
    """The flag of one setting.

    Attributes:
        path: the setting in a recipe, such as ``train.epochs``.
        hint: the annotation that its value must fit.
    """

    def __init__(self, flag: str, path: str, setting: Setting) -> None:
        self.path, self.hint = path, setting.hint
        name = path.replace(".", "__")
        negation = f"/--no-{flag.removeprefix('--')}" if setting.hint is bool else ""
        super().__init__(
            [flag + negation, name], default=None, help=_help(setting), metavar=_metavar(setting)
        )

    def plain(self, value: Any) -> Any:
        """What was typed, as the recipe takes it: a list of what stands between commas where it is one."""
        return as_typed(self.hint, value)


class FixedFlag(click.Option):
    """A flag that gives one setting one value.

    Attributes:
        path: the setting.
        value: what it becomes.
    """

    def __init__(self, flag: str, path: str, value: Any, meaning: str) -> None:
        self.path, self.value = path, value
        super().__init__([flag], is_flag=True, help=meaning)


class _Command(click.Command):
    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """Its own, since one that is first looked at without the program would never know ``-h``."""
        return ["-h", "--help"]

    def get_help(self, ctx: click.Context) -> str:
        return in_reach(super().get_help(ctx))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does it; who only asks for the settings need not say where a run would go."""
        needed = [parameter for parameter in self.params if parameter.required]
        if _PRINT.opts[0] not in args:
            return super().parse_args(ctx, args)
        try:
            for parameter in needed:
                parameter.required = False
            return super().parse_args(ctx, args)
        finally:
            for parameter in needed:
                parameter.required = True


def command(
    function: Callable[..., None], *groups: click.Parameter | Sequence[click.Parameter]
) -> click.Command:
    """A command.

    Args:
        function: what it does. It takes the values of the parameters by name, and those of all settings
            together as ``changes``, by dotted key. Its docstring is the help.
        groups: its parameters; those of settings bring ``--seed`` and ``--set`` with them.
    """
    parameters = [p for group in groups for p in (group if isinstance(group, Sequence) else (group,))]
    flags: dict[str, SettingFlag] = {}
    if any(isinstance(parameter, SettingFlag) for parameter in parameters):
        parameters += [_SEED, _SET, _PRINT]
        flags = {str(p.name): p for p in parameters if isinstance(p, SettingFlag)}
    fixed = {str(p.name): p for p in parameters if isinstance(p, FixedFlag)}

    def call(**values: Any) -> None:
        typed = dict(values)
        changes = {
            flag.path: flag.plain(value)
            for name, flag in flags.items()
            if (value := values.pop(name)) is not None
        }
        for name, chosen in fixed.items():
            if not values.pop(name):
                continue
            if changes.get(chosen.path, chosen.value) != chosen.value:
                raise InputError(f"{chosen.opts[0]}: expected it alone, got another {chosen.path} beside it")
            changes[chosen.path] = chosen.value
        for name, value in values.items():
            if type(value) is int and abs(value) > _LARGEST:
                raise InputError(f"--{name.replace('_', '-')}: expected at most {_LARGEST:,}, got far more")
        if flags:
            values["changes"] = _together(changes, entries(values.pop("set_")), flags.values())
            allow(references_in(values["changes"]))
            if values.pop(str(_PRINT.name)):
                _print_settings(title, parameters, typed, values)
                return
        function(**values)

    title = function.__name__.rstrip("_")
    return _Command(title, callback=call, params=parameters, help=function.__doc__)


def _together(
    changes: Mapping[str, Any], entered: Mapping[str, Any], flags: Iterable[SettingFlag]
) -> dict[str, Any]:
    """What flags and ``--set`` say of settings; neither goes before the other, so they may not differ."""
    for key in changes.keys() & entered.keys():
        if str(changes[key]) != str(entered[key]):  # a number may be typed as one, or be text
            flag = next((each.opts[0] for each in flags if each.path == key), "another flag")
            raise InputError(f"--set {key}: expected it once, got another value by {flag} beside it")
    return {**changes, **entered}


def entries(texts: Sequence[str]) -> dict[str, Any]:
    """Settings by key from ``key=value``, the value in JSON or as it is.

    Raises:
        InputError: an entry without a key or a value.
    """
    changes: dict[str, Any] = {}
    for entry in texts:
        key, equals, text = entry.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set: expected section.key=value, got {entry!r}")
        try:
            changes[key.strip()] = json.loads(text)
        except (ValueError, RecursionError):  # also of a number with too many digits
            changes[key.strip()] = text
    return changes


def as_typed(hint: Any, value: Any) -> Any:
    """What was typed for a setting with this annotation, as a recipe takes it."""
    parts = _parts(hint)
    choices = [str(each) for part in parts if get_origin(part) is Literal for each in get_args(part)]
    if not isinstance(value, str) or value in choices or not any(map(_is_list, parts)):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _help(setting: Setting) -> str:
    """Its meaning, the names that it takes and its default."""
    text = setting.brief[:1].upper() + setting.brief[1:]
    names = f": {', '.join(setting.family.names())}" if setting.family is not None else ""
    default = setting.default
    shown = ", ".join(map(str, default)) if isinstance(default, list) else default
    quiet = shown in (None, "", False) or (isinstance(default, list) and not default)
    return f"{text}{names}.{'' if quiet else f'  [default: {_number(shown)}]'}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _metavar(setting: Setting) -> str | None:
    if setting.hint is bool:
        return None
    if setting.family is not None:
        return "NAMES" if _is_list(setting.hint) else "NAME"
    kinds = {"int": "INTEGER", "number": "NUMBER", "text": "TEXT"}
    parts = [words(part) for part in _parts(setting.hint)]
    return "|".join(
        kinds.get(part) or ("LIST" if part.startswith("list") else re.sub(", | or ", "|", part))
        for part in parts
    )


def _parts(hint: Any) -> list[Any]:
    """The alternatives of an annotation, None left out."""
    union = not isinstance(hint, type) and get_origin(hint) not in (None, Literal, tuple, dict, list)
    return [part for part in get_args(hint) if part is not type(None)] if union else [hint]


def _is_list(hint: Any) -> bool:
    return words(hint).startswith("list")


def _print_settings(
    name: str, parameters: Sequence[click.Parameter], typed: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """The recipe that a command would run with, and as a comment what else was typed."""
    from semirobust.cli.console import print_text
    from semirobust.experiments.printed import printed_settings

    words = []
    for parameter in parameters:
        value = typed.get(str(parameter.name))
        plain = not isinstance(parameter, SettingFlag | FixedFlag) and parameter not in (_SET, _PRINT)
        if (
            not plain
            or parameter.name in ("recipe", "model")
            or value in (None, False, (), parameter.default)
        ):
            continue
        flag = parameter.opts[0] if isinstance(parameter, click.Option) else ""
        for each in value if isinstance(value, tuple) else [value]:
            words += [flag] * bool(flag) + [str(each)] * (each is not True)
    target = values.get("target") or values.get("robust")
    text = printed_settings(
        name,
        words,
        None if target is None else str(target),
        values.get("model"),
        values.get("recipe"),
        values["changes"],
    )
    print_text(text)


_PRINT = click.Option(
    ["--print-settings"], is_flag=True, help="Print the recipe that would run, with every setting, and leave."
)
_SEED = SettingFlag("--seed", "seed", Setting("seed", int, 0, "Seed of all randomness.", ""))
