"""All settings of a run, from a TOML file and flags, checked as one."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from semirobust.core.errors import InputError
from semirobust.experiments.settings import (
    DataSettings,
    EvaluateSettings,
    HardenSettings,
    ModelSettings,
    ProfileSettings,
    PruneSettings,
    RecoverSettings,
    Settings,
    ThreatSettings,
    TrainSettings,
)

__all__ = ["Recipe", "read_recipe", "shipped"]


class Recipe(Settings):
    """All settings of a run."""

    seed: int = 0
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    threat: ThreatSettings = ThreatSettings()
    train: TrainSettings = TrainSettings()
    harden: HardenSettings = HardenSettings()
    recover: RecoverSettings = RecoverSettings()
    prune: PruneSettings = PruneSettings()
    profile: ProfileSettings = ProfileSettings()
    evaluate: EvaluateSettings = EvaluateSettings()

    def for_hash(self, *parts: str) -> dict[str, Any]:
        """The settings that differ from the defaults, of the given sections; places on this machine left
        out.
        """
        settings = self.model_dump(mode="json", exclude_defaults=True)
        settings.get("data", {}).pop("root", None)
        return {key: settings[key] for key in ("seed", *parts) if settings.get(key) not in (None, {})}


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
            package; None for the defaults. A file that says ``recipe = "NAME"`` at its top goes on from that
            one.
        changes: values by dotted key, such as ``{"train.epochs": 5}``; None values are skipped.
        base: the settings to start from, where not the defaults.

    Raises:
        InputError: no such file, no TOML, an unknown key or a value of the wrong type.
    """
    tree: dict[str, Any] = base.model_dump(mode="json") if base is not None else {}
    if path is not None:
        own = _read_toml(_found(path))
        if (start := own.pop("recipe", None)) is not None:
            _merge(tree, _read_toml(_named(start)))
        model = own.get("model", {})
        if isinstance(model, Mapping) and ":" in str(model.get("name", "")):
            raise InputError(
                f"{path.name}: model.name names code to import; give it on the command line with --model"
            )
        _merge(tree, own)
    for key, value in (changes or {}).items():
        if value is not None:
            _put(tree, key, value)
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise InputError(f"recipe: unknown option {where}; {_known(first['loc'])}") from None
        raise InputError(f"recipe: {where}: {first['msg'].lower()}; got {first['input']!r}") from None


def _found(path: Path) -> Path:
    """The file, or the shipped recipe of that name where there is no such file."""
    return shipped().get(str(path), path) if not path.is_file() else path


def _named(name: object) -> Path:
    if not isinstance(name, str) or name not in shipped():
        raise InputError(f"recipe: expected one of {', '.join(shipped())}; got {name!r}")
    return shipped()[name]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        names = ", ".join(shipped())
        raise InputError(
            f"recipe: cannot read {path} ({error.strerror}); expected a TOML file, or one of {names}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path.name}: expected TOML, got a file that is none ({error})") from None


def _merge(tree: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise InputError(f"recipe: unknown option {key}")
    tree[last] = value


def _known(location: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = Recipe
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return f"expected one of {', '.join(model.model_fields)}"
