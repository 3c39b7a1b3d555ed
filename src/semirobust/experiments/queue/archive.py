"""The records of all runs of a study in one compressed file beside its code.

The file holds the runs one after the other, ordered by scale and by the names of their files. Each begins
with its settings, which name the scale and the run.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from semirobust.core.errors import InputError
from semirobust.core.links import given_file, given_folder
from semirobust.experiments.queue.find import NamedStudy
from semirobust.records.schema import Settings
from semirobust.records.store import AnyRecord, read_records, write_records

__all__ = ["Run", "pack_runs", "read_packed", "record_file", "run_folder", "unpack_runs", "write_packed"]

_FILE = "records.jsonl.xz"


@dataclass(frozen=True)
class Run:
    """The records of one run.

    Attributes:
        scale: of the study.
        unit: the name of the run.
        records: its settings, then all others.
    """

    scale: str
    unit: str
    records: tuple[AnyRecord, ...]


def run_folder(out: Path, name: str, scale: str) -> Path:
    """The folder of all runs of a study at one scale."""
    return given_folder(out) / f"{name}-{scale}"


def record_file(home: Path, unit: str) -> Path:
    """The file of the records of one run, below the folder of all."""
    return home / "records" / f"{unit.replace('/', '_')}.jsonl"


def pack_runs(found: NamedStudy, scale: str, out: Path) -> Path:
    """Put the records of all runs below ``out`` into the file of the study, in place of those of that scale.

    Raises:
        InputError: no runs there, records without settings that name their run, or no right to write.
    """
    home = run_folder(out, found.name, scale)
    files = sorted((home / "records").glob("*.jsonl"))
    if not files:
        raise InputError(f"pack: expected runs of {found.name} at the scale {scale} in {home}, found none")
    runs = [_run(scale, file) for file in files]
    others = [run for run in read_packed(found) if run.scale != scale] if _file(found).is_file() else []
    return write_packed(found, [*others, *runs])


def unpack_runs(found: NamedStudy, scale: str, out: Path) -> Path:
    """Write the records in the file of the study where those of its runs go, so that these count as done.

    Raises:
        InputError: the study has no such file, or none of that scale.
    """
    home = run_folder(out, found.name, scale)
    runs = [run for run in read_packed(found) if run.scale == scale]
    if not runs:
        raise InputError(f"unpack: expected runs at the scale {scale} in {_file(found)}, found none")
    for run in runs:
        if not (file := record_file(home, run.unit)).exists():
            write_records(file, run.records)
    return home


def read_packed(found: NamedStudy) -> list[Run]:
    """All runs in the file of the study."""
    runs: list[tuple[str, str, list[AnyRecord]]] = []
    for record in read_records(given_file(_file(found))):
        if isinstance(record, Settings):
            scale, unit = (str(record.settings.get(key, "")) for key in ("scale", "unit"))
            if not runs or runs[-1][:2] != (scale, unit):
                runs.append((scale, unit, []))
        if not runs:
            raise InputError(f"{_file(found)}: expected the settings of a run before its numbers")
        runs[-1][2].append(record)
    return [Run(scale, unit, tuple(records)) for scale, unit, records in runs]


def write_packed(found: NamedStudy, runs: Iterable[Run]) -> Path:
    """Write the file of the study; equal runs give equal bytes."""
    ordered = sorted(runs, key=lambda run: (run.scale, record_file(Path(), run.unit).name))
    file = _file(found)
    try:
        write_records(file, [record for run in ordered for record in run.records])
    except OSError as error:
        raise InputError(f"pack: cannot write {file} ({error.strerror})") from None
    return file


def _file(found: NamedStudy) -> Path:
    return found.study.folder / _FILE


def _run(scale: str, file: Path) -> Run:
    """The run in a file, its settings first and with the scale."""
    settings, others = list[Settings](), list[AnyRecord]()
    for record in read_records(file):
        if isinstance(record, Settings):
            settings.append(record.model_copy(update={"settings": {**record.settings, "scale": scale}}))
        else:
            others.append(record)
    units = {str(record.settings.get("unit", "")) for record in settings}
    if len(units) != 1 or not (unit := units.pop()):
        raise InputError(f"{file}: expected settings that name one run, got {len(units)}")
    return Run(scale, unit, (*settings, *others))
