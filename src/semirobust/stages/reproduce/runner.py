"""Running what is not done yet, and saying what is."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from semirobust.errors import InputError
from semirobust.models.checkpoint import write_atomically
from semirobust.progress import Progress, silent
from semirobust.records.record import Finding, Number, Settings
from semirobust.records.store import AnyRecord, read_records, write_records
from semirobust.reports.source import read_source
from semirobust.stages.parallel import for_each_seed
from semirobust.stages.reproduce import REPRODUCTIONS, Unit

__all__ = ["Status", "reproduce", "status", "write_page"]


@dataclass(frozen=True)
class Status:
    """Where a unit stands.

    Attributes:
        unit: the unit.
        state: ``done``, ``open``, or ``other settings`` where its records were made with others.
    """

    unit: Unit
    state: str


def status(name: str, scale: str, out: Path, *, seeds: int | None = None, changes: dict[str, Any] | None = None) -> list[Status]:
    """Every unit of a reproduction and whether its records lie below ``out``."""
    units = REPRODUCTIONS.make(name).units(scale, seeds, changes or {})
    return [Status(unit, _state(_home(out, name, scale), unit)) for unit in units]


def reproduce(
    name: str,
    scale: str,
    out: Path,
    *,
    seeds: int | None = None,
    only: Sequence[str] = (),
    workers: int | None = None,
    changes: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> Path:
    """Run the units that are not done, each seed's in one process, and write each one's records as it ends.

    Args:
        name: which reproduction.
        scale: ``cpu`` or ``paper``.
        out: where everything goes: records into ``name-scale/records``, networks beside them.
        seeds: how many; None for as many as the scale asks for.
        only: run only the units of these names, or where none is called so those whose name holds it; and what they need.
        workers: processes; one for each core where None.
        changes: recipe entries to change, such as the folder of the data.
        progress: told of every step.

    Returns:
        the folder that holds the records.
    """
    if seeds is not None and seeds < 1:
        raise InputError(f"seeds: expected at least 1, got {seeds}")
    units = REPRODUCTIONS.make(name).units(scale, seeds, changes or {})
    home = _home(out, name, scale)
    wanted = _with_needs(units, _meant(units, only))
    if not wanted:
        raise InputError(f"only: expected part of a unit's name, got {', '.join(only)}; see --list")
    numbers = sorted({unit.seed for unit in wanted})
    work = partial(_chain, name, scale, home, seeds, tuple(u.name for u in wanted), changes or {}, numbers)
    for_each_seed(work, len(numbers), progress, workers)
    return home


def write_page(name: str, scale: str, out: Path, file: Path) -> Path:
    """Render the tables of a reproduction from the records below ``out``.

    Raises:
        InputError: no records there yet, or the file cannot be written.
    """
    text = REPRODUCTIONS.make(name).page(read_source([_home(out, name, scale)]), scale)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"page: cannot write {file} ({error.strerror})") from None
    return file


def _chain(
    name: str,
    scale: str,
    home: Path,
    seeds: int | None,
    wanted: tuple[str, ...],
    changes: dict[str, Any],
    numbers: Sequence[int],
    position: int,
    progress: Progress,
) -> None:
    """All units of one seed. Units are made anew here, since what they do cannot be sent to another process."""
    reproduction = REPRODUCTIONS.make(name)
    units = reproduction.units(scale, seeds, changes)
    for unit in units:
        if unit.seed == numbers[position] and unit.name in wanted and not (_ready(home, unit) and _needless(home, unit, units)):
            folder = _own_folder(home, unit)
            found = unit.work(home, folder, progress)
            write_records(
                _file(home, unit), [_labelled(record, unit) for record in found if _kept(record, reproduction.left_out)]
            )


def _own_folder(home: Path, unit: Unit) -> Path:
    """The unit's folder, with what an interrupted run left there; what other settings left is moved aside."""
    folder, mark = home / unit.name, home / unit.name / "unit.json"
    before = json.loads(mark.read_text(encoding="utf-8"))["key"] if mark.is_file() else None
    if before not in (None, unit.key) or (before is None and _state(home, unit) == "other settings" and folder.exists()):
        folder.rename(folder.with_name(f"{folder.name}-before-{unit.key}"))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(mark, json.dumps({"key": unit.key}).encode())
    return folder


def _needless(home: Path, unit: Unit, units: Sequence[Unit]) -> bool:
    """Whether the network of a unit that is done is at hand, or nobody needs it any more."""
    open_ones = [u for u in units if unit.name in u.needs and not _ready(home, u)]
    return not open_ones or all((home / unit.name / name).is_file() for name in unit.leaves)


def _meant(units: Sequence[Unit], only: Sequence[str]) -> list[Unit]:
    names = {unit.name for unit in units}
    return [u for u in units if not only or any(u.name == part or (part not in names and part in u.name) for part in only)]


def _with_needs(units: Sequence[Unit], chosen: Sequence[Unit]) -> list[Unit]:
    names = {unit.name for unit in chosen}
    while more := set(itertools.chain.from_iterable(u.needs for u in units if u.name in names)) - names:
        names |= more
    return [unit for unit in units if unit.name in names]


def _home(out: Path, name: str, scale: str) -> Path:
    return out / f"{name}-{scale}"


def _file(home: Path, unit: Unit) -> Path:
    return home / "records" / f"{unit.name.replace('/', '_')}.jsonl"


def _ready(home: Path, unit: Unit) -> bool:
    return _state(home, unit) == "done"


def _state(home: Path, unit: Unit) -> str:
    file = _file(home, unit)
    if not file.is_file():
        return "open"
    keys = {record.settings.get("key") for record in read_records(file) if isinstance(record, Settings)}
    return "done" if unit.key in keys else "other settings"


def _kept(record: AnyRecord, left_out: frozenset[str]) -> bool:
    """Pictures, layers and what no table needs stay in the unit's own folder."""
    return isinstance(record, Settings) or (isinstance(record, Number | Finding) and record.name not in left_out)


def _labelled(record: AnyRecord, unit: Unit) -> AnyRecord:
    network, _, run = unit.name.partition("/")
    here = {"network": network, "unit": run.rpartition("/")[2], "seed": unit.seed}
    if isinstance(record, Settings):
        return record.model_copy(update={"settings": {**record.settings, "key": unit.key, "unit": unit.name}})
    assert isinstance(record, Number | Finding)
    return record.model_copy(update={"labels": {**record.labels, **here}})
