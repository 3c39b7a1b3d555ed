"""Code that the user has named once for a run folder, and need not name again.

The name of a factory runs code, so a file of a run may never be what says it. What is noted here lies
outside the run folder, in the user's own folder of state on this machine: ``$XDG_STATE_HOME/semirobust``, or
``~/.local/state/semirobust``. A note holds the folder, the name, its arguments and the file that it led to;
all of them must be as they were when the user typed the name.
"""

import hashlib
import importlib.util
import json
import logging
import os
import stat
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from semirobust.core.budget import read_json
from semirobust.core.errors import InputError
from semirobust.core.files import write_atomically
from semirobust.experiments.model_spec import ModelSpec, passed_on
from semirobust.experiments.recipe import read_recipe
from semirobust.zoo.base.named import from_zoo, source_of

__all__ = ["check_typed", "has_named", "note_named"]


def check_typed(folder: Path, spec: ModelSpec, model: str | None, changes: Mapping[str, Any]) -> None:
    """Raises ``InputError`` where the model of a run is the user's own code, which they have not named for
    this folder with all that is given to it, now or on this machine before.
    """
    if not from_zoo(spec.name) or source_of(spec.name)[0].named_by_files:
        return
    typed = {key: value for key, value in changes.items() if key.startswith("model.options")}
    options = dict(spec.options)
    if model == spec.name and passed_on(read_recipe(None, {**typed, "model.name": model}).model) == options:
        note_named(folder, spec.name, options)
        return
    if model in (None, spec.name) and not typed and has_named(folder, spec.name, options):
        return
    sets = "".join(f" --set model.options.{key}={json.dumps(value)}" for key, value in options.items())
    raise InputError(
        f"{folder}: its model comes from {spec.name}, and code is never run because a file names it; say so"
        f" once with --model {spec.name}{sets}"
    )


def note_named(folder: Path, name: str, options: Mapping[str, Any]) -> None:
    """Note that the user has named ``package.module:factory``, with these arguments, for a run folder."""
    file, code = _note(folder), _file_of(name)
    if file is None or code is None:
        return
    content = {"folder": str(folder.resolve()), "name": name, "options": dict(options), "file": code}
    try:
        write_atomically(file, json.dumps(content, indent=1).encode())
    except (OSError, InputError, TypeError, ValueError) as error:  # then it is asked for again
        logging.getLogger("semirobust.experiments").debug("%s is not noted (%s)", name, error)


def has_named(folder: Path, name: str, options: Mapping[str, Any]) -> bool:
    """Whether the user has named this code with these arguments for this folder, and it is the same file."""
    file = _note(folder)
    if file is None or not _is_mine(file):
        return False
    try:
        found = read_json(file)
        expected = {
            "folder": str(folder.resolve()),
            "name": name,
            "options": json.loads(json.dumps(dict(options))),
        }
    except (OSError, ValueError, TypeError, InputError):
        return False
    if not isinstance(found, dict) or {key: found.get(key) for key in expected} != expected:
        return False
    return found.get("file") is not None and found["file"] == _file_of(name)


def _note(folder: Path) -> Path | None:
    """Where the note on a folder lies; None for a user without a home."""
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    place = Path(state)
    if not place.is_absolute():  # as the standard of these folders says
        return None
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    return place.resolve() / "semirobust" / "named" / f"{digest}.json"


def _is_mine(file: Path) -> bool:
    """Whether the note is a file of this user's that not everybody may write."""
    try:
        found = file.lstat()
    except OSError:
        return False
    own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return stat.S_ISREG(found.st_mode) and own and not found.st_mode & stat.S_IWOTH


def _file_of(name: str) -> str | None:
    """The file of ``package.module`` in ``package.module:factory``, found without importing anything; None
    where there is none.
    """
    first, *rest = name.partition(":")[0].split(".")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found: ModuleSpec | None = importlib.util.find_spec(first)
        whole = first
        for part in rest:
            if found is None or found.submodule_search_locations is None:
                return None
            whole = f"{whole}.{part}"
            found = PathFinder.find_spec(whole, list(found.submodule_search_locations))
    except (ImportError, ValueError, AttributeError):
        return None
    finally:
        sys.path.remove(here)
    return (
        None
        if found is None or not found.has_location or found.origin is None
        else str(Path(found.origin).resolve())
    )
