"""Running what is not done yet, and saying what is."""

import itertools
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from semirobust.core.errors import InputError
from semirobust.core.ours import write_out
from semirobust.core.progress import Progress, silent
from semirobust.experiments.launch import LAUNCHERS
from semirobust.experiments.queue.archive import read_packed, run_folder
from semirobust.experiments.queue.find import find_study
from semirobust.experiments.queue.study import Unit
from semirobust.experiments.queue.worker import Job, state_of, work_through
from semirobust.reports.document import as_html
from semirobust.reports.source import Source, read_source, source_of

__all__ = ["Failed", "Status", "reproduce", "runs_of_page", "status", "study_source", "write_page"]


class Failed(InputError):
    """Some runs failed; the others are done."""


@dataclass(frozen=True)
class Status:
    """Where a unit stands.

    Attributes:
        unit: the unit.
        state: ``done``, ``running``, ``failed``, ``open``, or ``other settings`` where its records were made
            with others.
    """

    unit: Unit
    state: str


def status(
    study: str | Path,
    scale: str,
    out: Path,
    *,
    seeds: int | None = None,
    changes: dict[str, Any] | None = None,
) -> list[Status]:
    """Every unit of a study and whether its records lie below ``out``."""
    found = find_study(study)
    home = run_folder(out, found.name, scale)
    return [Status(unit, state_of(home, unit)) for unit in found.study.units(scale, seeds, changes or {})]


def reproduce(
    study: str | Path,
    scale: str,
    out: Path,
    *,
    seeds: int | None = None,
    only: Sequence[str] = (),
    workers: int | None = None,
    launcher: str = "local",
    launcher_options: Mapping[str, Any] | None = None,
    retries: int = 1,
    changes: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> Path:
    """Run the units that are not done, and write each one's records as it ends.

    Several of these may run at once in the same ``out``, on machines that share it: each run is taken up by
    one of them.

    Args:
        study: the name of a study, or the path of its folder.
        scale: one that the study has, such as ``cpu`` or ``paper``.
        out: where everything goes: records into ``NAME-SCALE/records``, networks beside them.
        seeds: how many; None for as many as the scale asks for.
        only: run only the units of these names, or where none is called so those whose name holds it; and
            what they need.
        workers: how many; one for each core where None.
        launcher: where they run, one of :data:`LAUNCHERS` with ``launcher_options``.
        retries: how often a run that failed is tried again.
        changes: recipe entries to change, such as the folder of the data.
        progress: told of every step.

    Returns:
        the folder that holds the records.

    Raises:
        Failed: some runs failed; all that do not need them are done.
    """
    if (seeds is not None and seeds < 1) or (workers is not None and workers < 1) or retries < 0:
        raise InputError(
            f"seeds, workers and retries: expected at least 1, 1 and 0, got {seeds}, {workers} and {retries}"
        )
    found = find_study(study)
    units = found.study.units(scale, seeds, changes or {})
    home = run_folder(out, found.name, scale)
    wanted = _with_needs(units, _meant(units, only))
    if not wanted:
        raise InputError(f"only: expected part of a unit's name, got {', '.join(only)}; see --list")
    names = frozenset(unit.name for unit in wanted)
    job = Job(found.reference, scale, seeds, changes or {}, home.absolute(), names, uuid.uuid4().hex, retries)
    count = min(len(wanted), os.cpu_count() or 1) if workers is None else workers
    failed = LAUNCHERS.make(launcher, launcher_options or {})(partial(work_through, job), count, progress)
    if failed and any(state_of(home, unit) != "done" for unit in wanted):
        more = f" (and {len(failed) - 1} more; see --list)" if len(failed) > 1 else ""
        raise Failed(f"{failed[0]}{more}; the runs that do not need it are done")
    return home


def study_source(study: str | Path, scale: str, out: Path | None = None) -> Source:
    """The records of the runs of a study below ``out``; without ``out`` those that come with the study.

    Raises:
        InputError: none there.
    """
    found = find_study(study)
    if out is not None:
        return read_source([run_folder(out, found.name, scale)])
    runs = [run for run in read_packed(found) if run.scale == scale]
    if not runs:
        raise InputError(f"page: expected runs of {found.name} at the scale {scale}, found none")
    return source_of(record for run in runs for record in run.records)


def runs_of_page(study: str | Path, scale: str, out: Path, *, packed: bool = False) -> Path | None:
    """The folder of runs that a page is rendered from; None for the records that come with the study.

    These are taken where there are no runs below ``out`` yet, or with ``packed``.
    """
    home = run_folder(out, find_study(study).name, scale)
    return home if not packed and any((home / "records").glob("*.jsonl")) else None


def write_page(study: str | Path, scale: str, out: Path, file: Path, *, packed: bool = False) -> Path:
    """Render the page of a study from the records that :func:`runs_of_page` says: as HTML whose tables can be
    sorted where the name of the file ends so, else in Markdown.

    Raises:
        InputError: neither runs nor records that come with the study, or the file cannot be written.
    """
    has_runs = runs_of_page(study, scale, out, packed=packed) is not None
    text = find_study(study).study.page(study_source(study, scale, out if has_runs else None), scale)
    if file.suffix.lower() in (".html", ".htm"):
        text = as_html(text)
    try:
        write_out(file, text.encode(), alike=True)
    except OSError as error:
        raise InputError(f"page: cannot write {file} ({error.strerror})") from None
    return file


def _meant(units: Sequence[Unit], only: Sequence[str]) -> list[Unit]:
    names = {unit.name for unit in units}
    return [
        u
        for u in units
        if not only or any(u.name == part or (part not in names and part in u.name) for part in only)
    ]


def _with_needs(units: Sequence[Unit], chosen: Sequence[Unit]) -> list[Unit]:
    names = {unit.name for unit in chosen}
    while more := set(itertools.chain.from_iterable(u.needs for u in units if u.name in names)) - names:
        names |= more
    return [unit for unit in units if unit.name in names]
