"""The file from which an interrupted training run continues as if it had never stopped."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from semirobust.core.errors import InputError
from semirobust.core.files import delete, move
from semirobust.core.state import State, grouped, in_groups
from semirobust.core.tensor_files import read_checked, write_tensors
from semirobust.layers.scores import ScoreName
from semirobust.records.conditions import Conditions
from semirobust.training.state import EpochLog, EpochProgress, TrainState

__all__ = ["delete_previous", "delete_state", "has_state", "read_state", "write_state"]

_FORMAT = 2
"""Goes up when the content of the file changes, so that an older file is refused as one of other settings."""


def write_state(path: Path, state: TrainState, groups: Mapping[str, Mapping[str, Tensor]], key: str) -> None:
    """Write everything into one safetensors file, whole or not at all, and keep the one before it.

    ``groups`` are tensors by group and name. A checksum over all of it is written too.
    """
    content = {"state": _plain(state), "key": key, "format": _FORMAT}
    if path.exists():
        move(path, _previous(path))
    write_tensors(path, in_groups(groups), content)


def has_state(path: Path) -> bool:
    """Whether there is a state to continue from."""
    return path.exists() or _previous(path).exists()


def delete_state(path: Path) -> None:
    """Delete the state and the one before it."""
    delete(path)
    delete_previous(path, even_if_last=True)


def delete_previous(path: Path, *, even_if_last: bool = False) -> None:
    """Delete the state before the last one; a run that is done needs it no more.

    It stays where there is no other, unless ``even_if_last``.
    """
    if even_if_last or path.exists():
        delete(_previous(path))


def read_state(path: Path, key: str) -> tuple[TrainState, dict[str, State], str]:
    """What :func:`write_state` wrote last; where that is damaged, what it wrote before, and a sentence that
    says so.

    Raises:
        InputError: both are damaged, or they belong to a run with other settings (``key``).
    """
    files = [file for file in (path, _previous(path)) if file.exists()]
    for file in files:
        try:
            metadata, tensors = read_checked(file)
        except InputError:
            continue
        if metadata["key"] != key or metadata.get("format") != _FORMAT:
            raise InputError(
                f"{path.parent}: holds a run with other settings; choose another folder or delete it"
            )
        groups = grouped(tensors, ("model", "best", "momentum"))
        state = _state(metadata["state"])
        if file == path:
            return state, groups, ""
        # Damaged: it must not take the place of the whole one when the next is written.
        delete(path)
        damaged = f"{path.name} is damaged; the run continued from the state before it, epoch {state.epoch}"
        return state, groups, damaged if len(files) > 1 else ""
    raise InputError(f"{path}: damaged, and there is no whole state before it; delete it to begin again")


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.stem}.before{path.suffix}")


def _plain(state: TrainState) -> dict[str, Any]:
    """The state as JSON has it, whose keys could only be text."""
    entries = asdict(state)
    for log in entries["logs"]:
        log["by_layer"] = [[*key, list(values.items())] for key, values in log["by_layer"].items()]
    return entries


def _state(entries: dict[str, Any]) -> TrainState:
    logs = [_log(log) for log in entries.pop("logs")]
    underway = entries.pop("underway")
    return TrainState(
        **{
            **entries,
            "layers": _tuple(entries["layers"]),
            "marked": _tuple(entries.get("marked")),  # of a run before others could be marked, none
            "logs": logs,
            "underway": EpochProgress(**{**underway, **_conditions(underway)}) if underway else None,
        }
    )


def _log(entries: dict[str, Any]) -> EpochLog:
    by_layer = {ScoreName(measure, part): dict(values) for measure, part, values in entries["by_layer"]}
    marked = tuple(entries.get("marked") or ())  # of a run before they were noted, none
    more = {"layers": _tuple(entries["layers"]), "by_layer": by_layer, "marked": marked}
    return EpochLog(**{**entries, **more, **_conditions(entries)})


def _conditions(entries: Mapping[str, Any]) -> dict[str, tuple[Conditions, ...]]:
    """Those of an epoch; of one before they were noted, that nothing is known of them."""
    noted: list[Any] = entries.get("conditions") or [{}]
    return {"conditions": tuple(map(Conditions.read, noted))}


def _tuple(layers: list[int] | None) -> tuple[int, ...] | None:
    return None if layers is None else tuple(layers)
