"""One worker: takes up runs that nobody else has, until none is left that can be done."""

import itertools
import json
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from semirobust.core.budget import read_json
from semirobust.core.errors import InputError
from semirobust.core.files import UNFINISHED, delete, make_folder, move, write_atomically
from semirobust.core.progress import Progress
from semirobust.core.text import first_line
from semirobust.experiments.queue.archive import record_file
from semirobust.experiments.queue.find import find_study
from semirobust.experiments.queue.study import LeftOut, Unit
from semirobust.experiments.run_lock import Busy, claimed, is_claimed
from semirobust.records.schema import Finding, Number, Settings
from semirobust.records.store import AnyRecord, read_records, write_records

__all__ = ["Job", "state_of", "work_through"]

_FAILED, _PAUSE = "failed.json", 1.0


@dataclass(frozen=True)
class Job:
    """What all workers of a launch share.

    Attributes:
        study: the name of the study or its absolute path, by which every worker finds it.
        scale, seeds, changes: of the study.
        home: the folder of its runs.
        wanted: names of the units.
        launch: tells this launch's failures from those of others, which are tried again.
        retries: how often a run that failed is tried again.
    """

    study: str
    scale: str
    seeds: int | None
    changes: Mapping[str, Any]
    home: Path
    wanted: frozenset[str]
    launch: str
    retries: int


def work_through(job: Job, number: int, progress: Progress) -> list[str]:
    """Do what is wanted and open, in order, each run by one worker; a sentence for each that failed for good.

    Units are made anew here, since what they do cannot be sent to another process.
    """
    study = find_study(job.study).study
    units = study.units(job.scale, job.seeds, dict(job.changes))
    pending = [unit for unit in units if unit.name in job.wanted]
    while True:
        pending = [unit for unit in pending if not _finished(job.home, unit, units)]
        open_ones = [unit for unit in pending if not _gave_up(job, unit)]
        able = [unit for unit in open_ones if _can_begin(unit, pending)]
        if not able:  # what is left waits for what failed, or for another worker
            break
        if not any(_take(job, unit, study.left_out, units, progress) for unit in able):
            time.sleep(_PAUSE)
    return [text for unit in pending if (text := _error(job, unit))]


def state_of(home: Path, unit: Unit) -> str:
    """Where a unit stands: done, running, failed, open, or other settings."""
    state = _recorded(home, unit)
    folder = home / unit.name
    if state == "done":
        return state
    if is_claimed(folder):
        return "running"
    return "failed" if _failures(folder).get("key") == unit.key else state


def _take(job: Job, unit: Unit, left_out: LeftOut, units: Sequence[Unit], progress: Progress) -> bool:
    """Do the unit, if nobody else does."""
    folder = job.home / unit.name
    try:
        with claimed(folder, alone=True):
            if not _finished(job.home, unit, units) and not _gave_up(job, unit):
                _do(job, unit, left_out, progress)
            return True
    except Busy:
        return False


def _do(job: Job, unit: Unit, left_out: LeftOut, progress: Progress) -> None:
    folder = job.home / unit.name
    try:
        file = record_file(job.home, unit.name)
        for unfinished in file.parent.glob(f".{file.name}.*{UNFINISHED}"):
            delete(unfinished)
        _prepare(job.home, unit)
        records = unit.work(job.home, folder, progress)
        write_records(file, [_labelled(record, unit) for record in records if _kept(record, left_out)])
        delete(folder / _FAILED)
    except Exception as error:  # the others go on
        before = _failures(folder)
        tries = before.get("tries", 0) + 1 if before.get("launch") == job.launch else 1
        tries = job.retries + 1 if isinstance(error, InputError) else tries  # it would say the same again
        content = {
            "key": unit.key,
            "launch": job.launch,
            "tries": tries,
            "error": first_line(error),
            "trace": traceback.format_exc(),
        }
        write_atomically(folder / _FAILED, json.dumps(content, indent=1).encode())


def _prepare(home: Path, unit: Unit) -> None:
    """Leave in the unit's folder what an interrupted run left there; move aside what other settings left."""
    folder, mark = home / unit.name, home / unit.name / "unit.json"
    before = _read(mark).get("key")
    content = [path for path in folder.iterdir() if path.name not in (".lock", _FAILED, mark.name)]
    if content and before != unit.key and (before is not None or _recorded(home, unit) == "other settings"):
        ends = itertools.chain([""], (f"-{i}" for i in itertools.count(2)))
        places = (folder.with_name(f"{folder.name}-before-{unit.key}{end}") for end in ends)
        aside = next(place for place in places if not place.exists())
        make_folder(aside)
        for path in content:
            move(path, aside / path.name)
    write_atomically(mark, json.dumps({"key": unit.key}).encode())


def _finished(home: Path, unit: Unit, units: Sequence[Unit]) -> bool:
    """Whether its records are there, and its network, or nobody needs that any more."""
    if _recorded(home, unit) != "done":
        return False
    if all((home / unit.name / name).is_file() for name in unit.leaves):
        return True
    return not any(unit.name in other.needs and _recorded(home, other) != "done" for other in units)


def _can_begin(unit: Unit, pending: Sequence[Unit]) -> bool:
    """Whether nothing that it needs is still to be done."""
    return not set(unit.needs) & {other.name for other in pending}


def _gave_up(job: Job, unit: Unit) -> bool:
    failures = _failures(job.home / unit.name)
    return failures.get("launch") == job.launch and failures.get("tries", 0) > job.retries


def _error(job: Job, unit: Unit) -> str:
    failures = _failures(job.home / unit.name)
    return f"{unit.name}: {failures['error']}" if failures.get("launch") == job.launch else ""


def _failures(folder: Path) -> dict[str, Any]:
    return _read(folder / _FAILED)


def _read(file: Path) -> dict[str, Any]:
    """A small file of JSON; empty where there is none or it is damaged."""
    try:
        found = read_json(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _recorded(home: Path, unit: Unit) -> str:
    file = record_file(home, unit.name)
    if not file.is_file():
        return "open"
    try:
        keys = {record.settings.get("key") for record in read_records(file) if isinstance(record, Settings)}
    except InputError:  # damaged: it is made again
        return "open"
    return "done" if unit.key in keys else "other settings"


def _kept(record: AnyRecord, left_out: LeftOut) -> bool:
    """Pictures, layers and what no table needs stay in the unit's own folder."""
    return isinstance(record, Settings) or (isinstance(record, Number | Finding) and not left_out.has(record))


def _labelled(record: AnyRecord, unit: Unit) -> AnyRecord:
    known = {name: value for name, value in asdict(unit.about).items() if value is not None}
    about = replace(record.about, **known, network=unit.network, unit=unit.run, seed=unit.seed)
    if isinstance(record, Settings):
        content = {**record.settings, "key": unit.key, "unit": unit.name}
        return record.model_copy(update={"settings": content, "about": about})
    return record.model_copy(update={"about": about})
