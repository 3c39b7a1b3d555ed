"""With which settings a run was begun, so that a call with others is told which they are."""

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from semirobust.core.budget import read_json
from semirobust.core.errors import InputError
from semirobust.core.files import delete, write_atomically
from semirobust.core.rank import is_first_process
from semirobust.core.text import printable
from semirobust.experiments.recipe import Recipe
from semirobust.experiments.run_files import SETTINGS_FILE, STARTED_FILE

__all__ = ["check_method", "names_settings", "note_start"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_OTHERS, _MOST = "with other settings", 5


def note_start(folder: Path, recipe: Recipe) -> None:
    """Note the settings of a run that begins; those of one that lies there, whole or not, stay."""
    file = folder / STARTED_FILE
    if is_first_process() and not (file.exists() or (folder / SETTINGS_FILE).exists()):
        write_atomically(file, json.dumps(recipe.plain(), indent=1).encode())


def check_method(folder: Path, recipe: Recipe) -> None:
    """A run that was interrupted goes on by the method that it was begun with.

    Raises:
        InputError: the recipe has another one.
    """
    before = (_read(folder / STARTED_FILE) or {}).get("harden")
    if isinstance(before, dict) and before.get("method") not in (None, recipe.plain()["harden"]["method"]):
        raise InputError(
            f"{folder}: expected the run that was interrupted there, which goes on first, got one {_OTHERS}"
        )


def names_settings(stage: Callable[_P, _R]) -> Callable[_P, _R]:
    """The stage. Where it refuses what its folder ``out`` holds since that is of other settings, the sentence
    names them; at its end the note on its start goes.
    """
    signature = inspect.signature(stage)

    @functools.wraps(stage)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        given = signature.bind(*args, **kwargs).arguments
        subject = given.get("subject") or given.get("robust")
        folder, recipe = Path(given["out"]), given.get("recipe") or getattr(subject, "recipe", None)
        try:
            found = stage(*args, **kwargs)
        except InputError as error:
            before = _read(folder / STARTED_FILE) or (_read(folder / SETTINGS_FILE) or {}).get("recipe")
            if _OTHERS not in str(error) or recipe is None or not isinstance(before, dict):
                raise
            other = _differences(before, recipe.plain())
            more = f" and {len(other) - _MOST} more" if len(other) > _MOST else ""
            raise InputError(f"{error}: {', '.join(other[:_MOST])}{more}" if other else str(error)) from None
        if is_first_process():
            delete(folder / STARTED_FILE)
        return found

    return run


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = read_json(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """``train.epochs was 30 and is 5`` for each setting that is another one."""
    found = []
    for section, entries in now.items():
        old = before.get(section)
        pairs = (
            [(f"{section}.{key}", old.get(key), value) for key, value in entries.items()]
            if isinstance(entries, dict) and isinstance(old, dict)
            else [(section, old, entries)]
        )
        found += [printable(f"{key} was {a!r} and is {b!r}") for key, a, b in pairs if a != b]
    return found
