"""All settings of a run, from a TOML file and flags, checked as one."""

import tomllib
import typing
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from semirobust.core.budget import BUDGET, check_nested
from semirobust.core.dotted import put
from semirobust.core.errors import InputError
from semirobust.core.files import read_text
from semirobust.core.links import given_file
from semirobust.core.nearest import meant
from semirobust.core.refusals import unknown_section, unknown_setting
from semirobust.core.settings import build, plain, settings_of
from semirobust.core.values import Misfit, as_json, checked
from semirobust.experiments.data_section import Data
from semirobust.experiments.sections import (
    Evaluate,
    Harden,
    Model,
    Profile,
    Prune,
    Recover,
    Threat,
    Train,
)

__all__ = ["SECTIONS", "Recipe", "read_recipe", "shipped", "with_changes"]


class Recipe:
    """All settings of a run.

    Every section holds real objects, made under the recipe's threat model: ``recipe.train.training`` is the
    training that it describes.

    Args:
        tree: settings in plain form, section by section; those left out have their defaults.

    Raises:
        InputError: an unknown setting, or a value that does not fit.
    """

    seed: int
    data: Data
    model: Model
    threat: Threat
    train: Train
    harden: Harden
    recover: Recover
    prune: Prune
    profile: Profile
    evaluate: Evaluate

    def __init__(self, tree: Mapping[str, Any] | None = None) -> None:
        tree = dict(tree or {})
        for key in tree:
            if key not in ("seed", *SECTIONS):
                raise InputError(unknown_section(key, _KEYS))
        self._plain: dict[str, Any] = {"seed": _checked("seed", int, tree.get("seed", 0))}
        self.seed = self._plain["seed"]
        given: dict[str, Any] = {}
        for name in ("threat", *(name for name in SECTIONS if name != "threat")):
            self._plain[name], section = _section(name, tree.get(name, {}), given)
            if isinstance(section, Threat):
                given["threat"] = section.ball
            setattr(self, name, section)
        if self.harden.one_schedule:
            self._share_the_schedule()

    def _share_the_schedule(self) -> None:
        """Base and method are parts of one schedule."""
        base, method = self.train.training, self.harden.training
        if base.schedule != method.schedule:
            raise InputError(
                f"recipe: harden.schedule: expected that of train ({base.schedule}), since"
                f" harden.one_schedule shares it; got {method.schedule}"
            )
        self.train = replace(self.train, training=replace(base, epochs_after=method.epochs))
        self.harden = replace(self.harden, training=replace(method, epochs_before=base.epochs))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self._plain == other._plain

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Recipe({self.changed()!r})"

    def __reduce__(self) -> tuple[type["Recipe"], tuple[dict[str, Any]]]:
        return Recipe, (self._plain,)

    def plain(self) -> dict[str, Any]:
        """All settings in plain form, as JSON and TOML have them."""
        return {key: as_json(self._plain[key]) for key in _KEYS}

    def changed(self) -> dict[str, Any]:
        """The settings in plain form that differ from their defaults."""
        changed: dict[str, Any] = {"seed": self.seed} if self.seed else {}
        for name, cls in SECTIONS.items():
            defaults = {s.name: s.default for s in settings_of(cls)}
            section = {k: v for k, v in as_json(self._plain[name]).items() if v != defaults[k]}
            changed |= {name: section} if section else {}
        return changed

    def for_hash(self, *parts: str) -> dict[str, Any]:
        """The settings that differ from the defaults, of the given sections; places on this machine and what
        listens to a training are left out.
        """
        settings = self.changed()
        settings.get("data", {}).pop("root", None)
        for section in ("train", "harden", "recover", "prune"):
            settings.get(section, {}).pop("log", None)
        if self.harden.one_schedule and "train" in parts:  # what comes after the base decides its rate
            settings["one_schedule"] = self.harden.training.epochs
            parts = (*parts, "one_schedule")
        return {key: settings[key] for key in ("seed", *parts) if settings.get(key) not in (None, {})}


_HINTS: dict[str, Any] = typing.get_type_hints(Recipe)
SECTIONS: dict[str, type] = {name: cls for name, cls in _HINTS.items() if name != "seed"}
"""Name -> dataclass."""
_KEYS = ("seed", *SECTIONS)


def _checked(key: str, hint: Any, value: Any) -> Any:
    try:
        return checked(key, hint, value)
    except Misfit as error:
        raise InputError(f"recipe: {key}: {error.text}") from None


def _section(name: str, tree: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """A section in plain form, and what it describes."""
    cls = SECTIONS[name]
    tree = _checked(name, dict[str, Any], tree)
    try:
        whole = plain(cls, tree)
        return whole, build(cls, whole, given)
    except Misfit as error:
        if error.text:
            raise InputError(f"recipe: {name}.{error.key}: {error.text}") from None
        raise InputError(unknown_setting(name, error.key, error.known)) from None
    except InputError as error:
        key = str(error).partition(":")[0].partition(" ")[0].rstrip(",")
        where = f"{name}." if key in {s.name for s in settings_of(cls)} else f"{name}: "
        raise InputError(f"recipe: {where}{error}") from None


def shipped() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    folder = Path(str(files("semirobust.experiments") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_recipe(
    path: Path | None = None, changes: Mapping[str, Any] | None = None, base: Recipe | None = None
) -> Recipe:
    """A recipe from a TOML file with ``changes`` on top.

    Args:
        path: a file with the sections of :class:`Recipe`, or the name of a recipe that comes with the
            package; None for the defaults. A file that says ``recipe = "NAME"`` at its top starts from that
            one.
        changes: values by dotted key, such as ``{"train.epochs": 5}``; None values are skipped.
        base: the settings to start from, where not the defaults.

    Raises:
        InputError: no such file, no TOML, an unknown key or a value of the wrong type.
    """
    tree: dict[str, Any] = base.plain() if base is not None else {}
    if path is not None:
        content = _read_toml(_file_of(path))
        if (start := content.pop("recipe", None)) is not None:
            _merge(tree, _read_toml(_named(start)))
        _check_names_no_code(path, content.get("model", {}), (changes or {}).get("model.name"))
        _merge(tree, content)
    for key, value in (changes or {}).items():
        if value is not None:
            put(tree, key, value)
    return Recipe(tree)


def with_changes(recipe: Recipe, **changes: Any) -> Recipe:
    """``recipe`` with changes by keyword, such as the arguments of a study's runs: ``harden__epochs`` stands
    for ``harden.epochs``.

    Raises:
        InputError: an unknown key or a value of the wrong type.
    """
    return read_recipe(None, {key.replace("__", "."): value for key, value in changes.items()}, recipe)


def _check_names_no_code(path: Path, model: object, named: object) -> None:
    """A recipe names no network from outside, and gives none its arguments."""
    if not isinstance(model, Mapping):
        return
    if ":" in str(model.get("name", "")):
        raise InputError(
            f"{path.name}: model.name names code to import; give it on the command line with --model"
        )
    if ":" in str(named or "") and model.get("options"):
        raise InputError(
            f"{path.name}: model.options are arguments of code that {named} names; give them on the command"
            " line with --set model.options.NAME=VALUE"
        )


def _file_of(path: Path) -> Path:
    """The file, or the shipped recipe of that name where there is no such file."""
    return shipped().get(str(path), path) if not path.is_file() else path


def _named(name: object) -> Path:
    if not isinstance(name, str) or name not in shipped():
        raise InputError(
            f"recipe: expected one of {', '.join(shipped())}; got {name!r}{meant(name, shipped())}"
        )
    return shipped()[name]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = read_text(given_file(path), most=BUDGET.toml)
        _check_toml(text)
        content = tomllib.loads(text)
        check_nested(content)
        return content
    except InputError as error:
        raise InputError(f"recipe: {error}") from None
    except OSError as error:
        names = ", ".join(shipped())
        raise InputError(
            f"recipe: cannot read {path} ({error.strerror}); expected a TOML file, or one of {names}"
            f"{meant(path, shipped())}"
        ) from None
    except (ValueError, RecursionError) as error:  # also of a number with too many digits
        raise InputError(f"{path.name}: expected TOML, got a file that is none ({error})") from None


def _check_toml(text: str) -> None:
    """Raise ``ValueError`` for what Python's reader would take long over."""
    if len(text) > BUDGET.toml:
        raise ValueError(f"more than {BUDGET.toml:,} bytes")
    for line in text.split("\n"):
        if sum(map(line.count, ".[{=")) > BUDGET.toml_line:
            raise ValueError(f"a line with more than {BUDGET.toml_line:,} dots and brackets")


def _merge(tree: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value
