"""Files of records."""

import json
import lzma
import os
import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from semirobust.core.budget import BUDGET, check_count, check_size
from semirobust.core.errors import InputError
from semirobust.core.files import read_bytes, write_atomically
from semirobust.core.links import check_inside, given_folder, given_out
from semirobust.core.text import unicode_all
from semirobust.records.quantity import Topic
from semirobust.records.schema import AnyRecord, Finding, check_indices, parse_record
from semirobust.records.seal import Inspection, sealed, split_seal

__all__ = ["AnyRecord", "read_records", "record_line", "stage_files", "write_records"]

_COMPRESSED = ".xz"
_STAGE = re.compile(r"(\d+-[a-z]+)-(\d+)")


def record_line(record: AnyRecord) -> str:
    """A record as a line of JSON; fields that do not apply are left out, and bytes of file names that are not
    UTF-8 are written as ``\\xff``.
    """
    try:
        return record.model_dump_json(exclude_none=True)
    except (PydanticSerializationError, UnicodeEncodeError):
        return json.dumps(unicode_all(record.model_dump(exclude_none=True)))


def write_records(path: Path, records: Iterable[AnyRecord]) -> None:
    """Write records as lines of JSON, whole or not at all; compressed where the name ends in ``.xz``.

    Each line ends with a seal (:mod:`semirobust.records.seal`), but in a compressed file, which has a
    checksum of its own.
    """
    lines, packed = [record_line(record) for record in records], path.suffix == _COMPRESSED
    text = "".join(f"{line}\n" for line in (lines if packed else sealed(lines))).encode()
    write_atomically(path, _compressed(text) if packed else text)


def _compressed(text: bytes) -> bytes:
    """Equal text gives equal bytes: the format holds no time and no name."""
    return lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)


def read_records(source: Path) -> list[AnyRecord]:
    """The records of a file, or of all ``records/*.jsonl`` of a run folder in the order of their names.

    Where lines are not as they were written a finding at the end of the file's says so. Lines without a seal,
    as earlier versions and other programs write them, are taken as they are.

    Raises:
        InputError: nothing there, a line that is no record, or one of a later version of the schema.
    """
    if source.is_dir():
        files = [file for _, _, file in stage_files(given_folder(source))]
    else:
        files = [given_out(source)] if os.path.lexists(source) else []
    if not files:
        raise InputError(
            f"records: expected a run folder with records/*.jsonl, or a file .jsonl or .jsonl.xz, at"
            f" {source}; found none"
        )
    records: list[AnyRecord] = []
    for file in files:
        records += _read(file, BUDGET.records - len(records))
    return records


def stage_files(folder: Path) -> list[tuple[str, int, Path]]:
    """The files of records of a run folder: (name, number, file), number 2 for ``3-evaluate-2.jsonl``.

    Raises:
        InputError: they lie behind a link.
    """
    found = []
    check_inside(folder / "records" / "inside")
    for file in (folder / "records").glob("*.jsonl"):
        numbered = _STAGE.fullmatch(file.stem)
        found.append((numbered[1], int(numbered[2]), file) if numbered else (file.stem, 1, file))
    return sorted(found)


def _read(file: Path, most: int) -> list[AnyRecord]:
    inspection = Inspection()
    lines = enumerate(_lines(file, most), 1)
    records = [_parsed(file, number, line, inspection) for number, line in lines]
    if said := inspection.said(file.name):
        at = records[0].origin
        records.append(Finding(topic=Topic.NOTE, text=said, level="warning", origin=at))
    return records


def _lines(file: Path, most: int) -> list[str]:
    try:
        # Not splitlines, which also ends a line at characters that JSON may hold.
        lines = _text(file).decode("utf-8").split("\n")
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file.name}: expected lines of JSON, got a file that cannot be read ({type(error).__name__})"
        ) from None
    found = [line.rstrip("\r") for line in (lines[:-1] if not lines[-1] else lines)]
    if not found:
        raise InputError(f"{file.name}: expected records, got an empty file; delete it")
    if len(found) > most:
        raise InputError(
            f"{file.name}: expected at most {BUDGET.records:,} records in a file or a run folder, got more;"
            " it was not read"
        )
    return found


def _parsed(file: Path, number: int, text: str, inspection: Inspection) -> AnyRecord:
    check_count(f"{file.name}, line {number}", "bytes of a record", len(text), BUDGET.record)
    try:
        line, seal = split_seal(text)
        record = parse_record(line)
        check_indices(record)
        inspection.look(line, seal)
        return record
    except InputError as error:
        raise InputError(f"{file.name}, line {number}: {error}") from None
    except (ValueError, RecursionError) as error:
        problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InputError(
            f"{file.name}, line {number}: expected a record, got something else ({problem}); where the file"
            " was cut or damaged, delete it and run its command again"
        ) from None


def _text(file: Path) -> bytes:
    """The bytes of a file; of a compressed one what it unpacks to, which is bounded."""
    content = read_bytes(file, most=BUDGET.record_bytes)
    if file.suffix != _COMPRESSED:
        return content
    unpacked, unpacker = bytearray(), lzma.LZMADecompressor(memlimit=BUDGET.lzma_memory)
    while not unpacker.eof:
        unpacked += unpacker.decompress(content, max_length=1 << 20)
        content = b""
        check_size(file, len(unpacked), least=BUDGET.text_unpacked, ratio=BUDGET.text_ratio)
        if unpacker.needs_input and not unpacker.eof:
            raise EOFError
    return bytes(unpacked)
