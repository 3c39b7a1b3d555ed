"""Records of a command stand beside those that its run folder has; none is lost."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semirobust.core.errors import InputError
from semirobust.core.files import delete, read_bytes, write_atomically
from semirobust.records.schema import About, Finding, Number, Quantity, Settings, Topic
from semirobust.records.store import AnyRecord, read_records, stage_files, write_records

__all__ = ["SUPERSEDED", "Added", "add_records"]

SUPERSEDED = "superseded"
"""The folder within a run for what a later command replaced."""

# What no second measurement repeats.
_TIMES = {
    Quantity.EPOCH_SECONDS,
    Quantity.INFERENCE_SECONDS,
    Quantity.INFERENCE_RATIO,
    Quantity.INFERENCE_RATIO_MIN,
    Quantity.INFERENCE_RATIO_MAX,
}


@dataclass(frozen=True)
class Added:
    """Where records went.

    Attributes:
        path: their file.
        note: a sentence for the reader; empty for records that are the first of their command.
    """

    path: Path
    note: str = ""


def add_records(folder: Path, name: str, records: Sequence[AnyRecord]) -> Added:
    """Write the records of one command into its run folder.

    Records of other settings, or of another seed, go into a file of their own. Of equal settings the same
    numbers are written once. Where a number differs the old file is copied to ``superseded`` first, and the
    new one says so.
    """
    place = folder / "records"
    before = [(number, file) for stage, number, file in stage_files(folder) if stage == name]
    said = list[str]()
    for _, file in reversed(before):
        try:
            old = read_records(file)
        except InputError as error:
            said.append(_kept_away(folder, file, str(error)))
            continue
        if _identity(old) != _identity(records):
            continue
        ours, theirs = _numbers(records), _numbers(old)
        differ = [key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key]]
        if differ:
            return _replaced(folder, file, records, len(differ))
        if ours.keys() <= theirs.keys():
            same = f"the same numbers are in {file} already, and were not written again"
            return Added(file, "; ".join([same, *said]))
        if theirs.keys() <= ours.keys():
            write_records(file, [*records, *_findings(said, records)])
            return Added(file, "; ".join(said))
    free = max((number for stage, number, _ in stage_files(folder) if stage == name), default=0) + 1
    path = place / (f"{name}.jsonl" if free == 1 else f"{name}-{free}.jsonl")
    write_records(path, [*records, *_findings(said, records)])
    beside = f"the numbers stand beside those of earlier commands, in {path}"
    return Added(path, "; ".join(said or ([beside] if free > 1 else [])))


def _kept_away(folder: Path, file: Path, why: str) -> str:
    """Move a damaged file of records out of the way; a sentence that says so."""
    content, number = read_bytes(file), 1
    while (kept := folder / SUPERSEDED / f"{file.stem}.damaged-{number}.jsonl").exists():
        number += 1
    write_atomically(kept, content)
    delete(file)
    said = f"{file.name} was damaged and is kept in {kept.relative_to(folder)} ({why.partition(';')[0]})"
    logging.getLogger("semirobust.experiments").warning(said)
    return said


def _findings(said: Sequence[str], records: Sequence[AnyRecord]) -> list[Finding]:
    return [Finding(topic=Topic.NOTE, text=text, level="warning", origin=records[0].origin) for text in said]


def _replaced(folder: Path, file: Path, records: Sequence[AnyRecord], count: int) -> Added:
    """Copy the old file away, then write the new one; after a kill in between both are there."""
    content, number = read_bytes(file), 1
    while True:
        kept = folder / SUPERSEDED / f"{file.stem}.{number}.jsonl"
        if not kept.is_file() or read_bytes(kept) == content:
            break
        number += 1
    write_atomically(kept, content)
    note = (
        f"{count} numbers differ from those of an earlier command with the same settings, which are kept in"
        f" {kept.relative_to(folder)}"
    )
    said = Finding(topic=Topic.NOTE, text=note, level="warning", origin=records[0].origin)
    write_records(file, [*records, said])
    return Added(file, note)


def _identity(records: Sequence[AnyRecord]) -> tuple[object, ...]:
    """The command, its settings, the weights among them, and the seed."""
    return next(((r.stage, r.settings, r.origin.seed) for r in records if isinstance(r, Settings)), ())


def _numbers(records: Sequence[AnyRecord]) -> dict[tuple[Quantity, int | None, About], float | None]:
    """What was measured of what -> the number; None for NaN, which equals itself here."""
    return {
        (r.quantity, r.n, r.about): None if math.isnan(r.value) else r.value
        for r in records
        if isinstance(r, Number) and r.quantity not in _TIMES
    }
