"""Run folders: what a command leaves there and the next one reads."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter
from torch import nn

from semirobust.core.budget import read_json
from semirobust.core.errors import InputError
from semirobust.core.files import check_place, make_folder, move, read_bytes, write_atomically
from semirobust.core.ours import check_ours
from semirobust.core.outputs import note
from semirobust.core.tensor_files import read_tensors
from semirobust.core.text import first_line
from semirobust.experiments.adding import SUPERSEDED, add_records
from semirobust.experiments.consent import note_named
from semirobust.experiments.identity import WEIGHTS, settings_in, weights_in, weights_of
from semirobust.experiments.model_spec import ModelSpec
from semirobust.experiments.recipe import Recipe
from semirobust.experiments.run_files import LAST_FILE, MODEL_FILE, SETTINGS_FILE
from semirobust.models.checkpoint import save_model
from semirobust.records.origin import config_hash
from semirobust.records.store import AnyRecord, stage_files
from semirobust.zoo.base.named import from_zoo, source_of

__all__ = [
    "check_weights",
    "is_run",
    "keep_network",
    "prepare_folder",
    "read_run",
    "save_run",
    "stage_of",
    "trained_with",
    "write_stage",
]

_CHECKSUM = "sum"
_TRAINED = "trained"  # of a network that a command only looked at
_SPEC = TypeAdapter(ModelSpec)


def is_run(folder: Path) -> bool:
    """Whether a command has left its run there."""
    return (folder / SETTINGS_FILE).is_file()


def read_run(folder: Path) -> tuple[Recipe, ModelSpec]:
    """The settings of the run in ``folder``, and how its network is built.

    Raises:
        InputError: the file cannot be read, or describes no run.
    """
    try:
        content = read_json(folder / SETTINGS_FILE)
        _note_changes(folder, content)
        return Recipe(content["recipe"]), _SPEC.validate_python(content["model"])
    except InputError as error:  # a value that does not fit, or code that has not been named
        raise InputError(
            f"{folder}: expected the settings of a run that hold, got others ({error})"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = type(error).__name__
        text = f"{folder}: expected the settings of a run, got a file that cannot be read ({reason})"
        raise InputError(text) from None


def stage_of(folder: Path) -> str:
    """The command that left its run in ``folder``; empty where its settings do not say."""
    try:
        return str(read_json(folder / SETTINGS_FILE).get("stage") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def prepare_folder(folder: Path, stage: str) -> Path:
    """Make the run folder of a command.

    Raises:
        InputError: the place cannot be written to, or another command's run lies there.
    """
    settings = folder / SETTINGS_FILE
    check_place(settings)
    check_place(folder / "records" / "inside")
    if not settings.exists():
        for name in (MODEL_FILE, LAST_FILE):
            check_ours(folder / name)
    else:
        try:
            before = read_json(settings).get("stage")
        except (OSError, ValueError, AttributeError):
            before = "unknown"
        if before is None:
            raise InputError(
                f"out: {settings} exists and was not made by semirobust; choose another folder or delete it"
            )
        if before != stage:
            raise InputError(f"out: {folder} holds a run of `{before}`; choose another folder or delete it")
    try:
        make_folder(folder)
    except OSError as error:
        raise InputError(f"out: cannot make the folder {folder} ({error.strerror})") from None
    return folder


def save_run(folder: Path, model: nn.Module, spec: ModelSpec, recipe: Recipe, stage: str) -> None:
    """Write the weights and what is needed to build the model again.

    Other weights that are there, and the records of them, are kept in ``superseded``.
    """
    weights = weights_of(model)
    _set_aside(folder, weights)
    save_model(model, folder / MODEL_FILE, {"stage": stage, "model": asdict(spec)})
    _write_settings(folder, spec, recipe, stage, weights)


def keep_network(
    folder: Path, model: nn.Module, spec: ModelSpec, recipe: Recipe, stage: str, trained: Recipe | None
) -> None:
    """Leave beside the records of a network what is needed to go on from it, where the folder is no run yet.

    The numbers are there already: what speaks against it, such as a full disk or a file of somebody else's,
    is logged. ``trained`` are the settings that it was trained with, where they are known.
    """
    weights, place = weights_of(model), folder / MODEL_FILE
    if is_run(folder) or not model.state_dict():  # a network that is a file of its own, such as onnx:FILE
        return
    try:
        if not place.exists():
            save_model(model, place, {"stage": stage, "model": asdict(spec)})
        elif weights_in(read_tensors(place)) != weights:
            raise InputError(f"{place} holds other weights")
        known = {_TRAINED: None if trained is None else trained.plain()}
        _write_settings(folder, spec, recipe, stage, weights, **known)
    except (OSError, InputError) as error:
        text = f"the network is not kept in {folder} ({first_line(error)}); its records are"
        logging.getLogger("semirobust.experiments").warning(text)


def trained_with(folder: Path, recipe: Recipe) -> Recipe | None:
    """The settings that the network of a run was trained with: its own ``recipe``, but where a command only
    looked at it those that the command knew, or None.
    """
    found = read_json(folder / SETTINGS_FILE).get(_TRAINED, recipe)
    if found is None or isinstance(found, Recipe):
        return found
    if not isinstance(found, dict):
        raise InputError(f"{folder / SETTINGS_FILE}: expected settings of a training, got something else")
    return Recipe(found)


def _write_settings(
    folder: Path, spec: ModelSpec, recipe: Recipe, stage: str, weights: str, **more: object
) -> None:
    if from_zoo(spec.name) and not source_of(spec.name)[0].named_by_files:
        note_named(folder, spec.name, spec.options)  # the user has named it, or it would not have been built
    content = {"stage": stage, "model": asdict(spec), "recipe": recipe.plain(), WEIGHTS: weights, **more}
    content[_CHECKSUM] = _checksum(content)
    write_atomically(folder / SETTINGS_FILE, json.dumps(content, indent=1).encode())


def check_weights(folder: Path) -> None:
    """Raises ``InputError`` where ``model.safetensors`` holds other weights than the run left: a file of
    another run, an older one, or a damaged one.
    """
    check_place(folder / MODEL_FILE)
    try:
        expected = read_json(folder / SETTINGS_FILE)[WEIGHTS]
    except (OSError, ValueError, KeyError, TypeError):
        return  # from before weights were noted
    found = weights_in(read_tensors(folder / MODEL_FILE))
    if found != expected:
        raise InputError(
            f"{folder / MODEL_FILE}: expected the weights that the run left ({expected}), got others"
            f" ({found}); bring its own file back, or give this one with --checkpoint {folder / MODEL_FILE}"
        )


def _note_changes(folder: Path, content: dict[str, object]) -> None:
    """Say where the settings are not as they were written."""
    if _CHECKSUM in content and content[_CHECKSUM] != _checksum(content):
        note(f"{folder / SETTINGS_FILE} was changed after it was written")


def _checksum(content: Mapping[str, object]) -> str:
    return config_hash({key: value for key, value in content.items() if key != _CHECKSUM})


def _set_aside(folder: Path, weights: str) -> None:
    """Keep another network that is there, and the records that speak of it."""
    try:
        before = read_json(folder / SETTINGS_FILE)[WEIGHTS]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if before == weights or not isinstance(before, str) or not before.isalnum():
        return
    place = folder / SUPERSEDED
    for name in (MODEL_FILE, SETTINGS_FILE):
        path = folder / name
        kept = place / f"{path.stem}-{before}{path.suffix}"
        # After a kill between the two files the model is the new one already, and the old one is kept.
        if path.is_file() and not kept.is_file():
            write_atomically(kept, read_bytes(path))
    for _, _, file in stage_files(folder):
        settings = settings_in(file)
        if settings is not None and settings.settings.get(WEIGHTS) == before:
            move(file, place / f"{file.stem}-{before}.jsonl")
    text = f"{folder} held other weights; they and their records are kept in {place}"
    logging.getLogger("semirobust.experiments").warning(text)


def write_stage(folder: Path, name: str, records: Sequence[AnyRecord]) -> str:
    """Write the records of one command into its run folder, beside those that are there; gives a sentence
    where there are some.
    """
    return add_records(folder, name, records).note
