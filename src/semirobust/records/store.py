"""Files of records."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from semirobust.core.errors import InputError
from semirobust.core.files import write_atomically
from semirobust.records.schema import Finding, LayerEntry, Number, Picture, Settings, parse_record

__all__ = ["AnyRecord", "read_records", "write_records"]

AnyRecord = Number | LayerEntry | Picture | Finding | Settings


def write_records(path: Path, records: Iterable[AnyRecord]) -> None:
    """Write records as lines of JSON, whole or not at all."""
    write_atomically(path, "".join(record.model_dump_json() + "\n" for record in records).encode())


def read_records(source: Path) -> list[AnyRecord]:
    """The records of a file, or of all ``records/*.jsonl`` of a run folder in the order of their names.

    Raises:
        InputError: nothing there, or a line that is no record.
    """
    files = (
        sorted((source / "records").glob("*.jsonl"))
        if source.is_dir()
        else [source]
        if source.is_file()
        else []
    )
    if not files:
        raise InputError(
            f"records: expected a run folder with records/*.jsonl or a .jsonl file at {source}, found none"
        )
    return [record for file in files for record in _read(file)]


def _read(file: Path) -> list[AnyRecord]:
    records = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file.name}: expected lines of JSON, got a file that cannot be read ({type(error).__name__})"
        ) from None
    for number, line in enumerate(lines, 1):
        try:
            records.append(parse_record(line))
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise InputError(
                f"{file.name}, line {number}: expected a record, got something else ({problem})"
            ) from None
    return records
